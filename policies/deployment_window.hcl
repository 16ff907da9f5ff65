# Runs start on working days from 09:00 to 17:00 (UTC unless a timezone is given); others wait for the next opening.
policy "deployment_window" {
  schedule {
    allowed_hours = ["9-17"]
    allowed_days  = ["MON-FRI"]
  }

  action {
    on_violation = "queue"
  }
}

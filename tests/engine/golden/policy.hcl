policy "golden" {
  environment = "prod"

  schedule {
    timezone      = "Europe/Berlin"
    allowed_hours = ["22-6"]
    allowed_days  = ["MON-TUE"]
  }

  approval {
    required       = true
    min_approvers  = 2
    allowed_groups = ["dba"]
  }

  action {
    on_violation = "queue"
  }
}

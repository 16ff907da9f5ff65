# Two members of platform-admins, neither of them behind the change, agree before production changes.
policy "production_approval" {
  environment = "prod"

  approval {
    required       = true
    min_approvers  = 2
    allowed_groups = ["platform-admins"]
  }
}

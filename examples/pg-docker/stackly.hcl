stack "pg-docker" {
  version = "1.0.0"
  target  = "docker"
  suite   = "suite.yaml"
}

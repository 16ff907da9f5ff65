stack "pg-standalone" {
  version = "1.0.0"
  target  = "local"
  suite   = "suite.yaml"
}

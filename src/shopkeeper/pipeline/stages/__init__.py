"""What `dvc repro` runs before the verbs: one composed configuration per stage, and what each depends on."""

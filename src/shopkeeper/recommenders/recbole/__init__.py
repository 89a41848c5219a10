"""RecBole's models on this project's splits: they run in an environment of their own and answer through files."""

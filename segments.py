"""Say of every customer in which segments they are as of today: python segments.py dataset=…."""

from shopkeeper.pipeline.shell.verbs import run_verb

if __name__ == "__main__":
    run_verb("segments")

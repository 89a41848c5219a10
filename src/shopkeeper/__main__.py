"""`python -m shopkeeper`: everything that is not one of the verbs."""

from shopkeeper.cli.main import main

if __name__ == "__main__":
    main()

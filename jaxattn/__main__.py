"""`python -m jaxattn` is the `jaxattn` command."""

from jaxattn.cli import main

if __name__ == "__main__":
    main()

"""`python launch.py --mode=...`: the `jaxattn` command, run from a checkout.

`python launch.py --helpshort` explains every mode with an example.
"""

from jaxattn.cli import main

if __name__ == "__main__":
    main()

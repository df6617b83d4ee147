"""`python -m lora_lab`: is this machine ready? `python -m lora_lab lesson`: copies of pages to teach from.

See lora_lab/classroom/preflight.py and lesson.py; a subcommand's --help says what it takes.
"""

import sys

from lora_lab.classroom import lesson, preflight

COMMANDS = {"lesson": lesson.main}  # each takes the arguments after its name and returns an exit status


def main() -> int:
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        return COMMANDS[sys.argv[1]](sys.argv[2:])
    return preflight.main()


if __name__ == "__main__":
    sys.exit(main())

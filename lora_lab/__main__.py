"""`python -m lora_lab`: is this machine ready? `python -m lora_lab lesson`: copies of pages to teach from.
`python -m lora_lab site`: the web edition.

See preflight.py, lesson.py and site/build.py in lora_lab/classroom; a subcommand's --help says what it takes.
"""

import sys

from lora_lab.classroom import lesson, preflight


def site(arguments: list[str]) -> int:
    try:  # here, because the preflight runs before anything is installed
        from lora_lab.classroom.site.build import main
    except ModuleNotFoundError as e:
        sys.exit(f"site: there is no package {e.name} here: {preflight.INSTALL}")
    return main(arguments)


COMMANDS = {"lesson": lesson.main, "site": site}  # each takes the arguments after its name and returns an exit status


def main() -> int:
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        return COMMANDS[sys.argv[1]](sys.argv[2:])
    return preflight.main()


if __name__ == "__main__":
    sys.exit(main())

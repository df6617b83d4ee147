"""`python -m lora_lab`: is this machine ready? `python -m lora_lab lesson`: copies of pages to teach from.
`python -m lora_lab site`: the web edition.

See preflight.py, lesson.py and site/build.py in lora_lab/classroom; a subcommand's --help says what it takes.
"""

import sys

from lora_lab.classroom import lesson, preflight


def main() -> int:
    if sys.argv[1:2] == ["lesson"]:
        return lesson.main(sys.argv[2:])
    if sys.argv[1:2] != ["site"]:
        return preflight.main()
    try:  # here, because the preflight runs before anything is installed
        from lora_lab.classroom.site import build
    except ModuleNotFoundError as e:
        sys.exit(f"site: there is no package {e.name} here: {preflight.INSTALL}")
    return build.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())

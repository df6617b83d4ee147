"""`python -m lora_lab`: is this machine ready? (See lora_lab/classroom/preflight.py; --room prints one line.)"""

import sys

from lora_lab.classroom.preflight import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.end_to_end.host <name> worker`: a worker as if on a machine of this name.

A machine's name cannot be changed without rights; what else tells two machines apart, the test gives each its own.
"""

import socket
import sys

from worker.__main__ import main

if __name__ == "__main__":
    name = sys.argv[1]
    socket.gethostname = lambda: name
    sys.exit(main())

"""Serve the built site on this machine.

    python book/serve.py [--port 8000]
"""

import argparse
import functools
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SITE = Path(__file__).resolve().parent / "_build" / "html"


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a line in the terminal for each of them."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> int:
    """Serve until Ctrl-C; returns 2 with a sentence when the site is not built or the port is taken."""
    parser = argparse.ArgumentParser(description="Serve the built site on this machine.")
    parser.add_argument("--port", type=int, default=8000, help="port (default: 8000; 0: any free one)")
    port = parser.parse_args().port
    if not (SITE / "index.html").is_file():
        print("The site is not built yet: run python book/build.py", file=sys.stderr)
        return 2
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), functools.partial(QuietHandler, directory=str(SITE)))
    except (OSError, OverflowError) as error:
        print(f"Port {port} cannot be used ({error}): choose another, such as make course PORT=8001", file=sys.stderr)
        return 2
    print(f"The course is at http://localhost:{server.server_port} (Ctrl-C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Real clients log in and chat: `run.py [--server verona|prosody] [--only CLIENT] [--keep]`."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from bots import Libstrophe, Slixmpp
from go_sendxmpp import GoSendxmpp
from profanity import Profanity
from scenario import Scenario
from server import SERVERS, Verona

CLIENTS = {
    "slixmpp": Slixmpp,
    "libstrophe": Libstrophe,
    "go-sendxmpp": GoSendxmpp,
    "profanity": Profanity,
}


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", choices=SERVERS, default="verona")
    parser.add_argument("--only", choices=CLIENTS, action="append")
    parser.add_argument("--keep", action="store_true", help="leave the folder with the logs")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="verona-clients-"))
    server, passed, failed = None, 0, 0
    try:
        Libstrophe.build(folder)
        # Accounts are made on the command line, and by who is invited.
        Verona.registration = "invite"
        server = SERVERS[options.server](folder / "server")
        # Go and OpenSSL take their authorities from here; no client is told to skip the check.
        os.environ["SSL_CERT_FILE"] = str(server.certificate)
        server.start()
        for name in options.only or CLIENTS:
            for tls in ("starttls", "direct"):
                began = time.monotonic()
                scenario = Scenario(server, folder, CLIENTS[name], f"{name}-{tls}", tls)
                passed += scenario.play()
                failed += len(scenario.failures)
                print(f"{name} {tls}: {time.monotonic() - began:.1f} s", flush=True)
        server.stop()
    except (RuntimeError, OSError, subprocess.CalledProcessError):
        traceback.print_exc()
        failed += 1
    finally:
        if server is not None:
            server.kill()
    if failed:
        print(f"logs are in {folder}")
    elif not options.keep:
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m etl.simulator`: serve one account, token `sk-simulated`, until told to stop."""

import argparse
import signal
import sys

from etl.simulator.account import Account
from etl.simulator.dialects import MAXIMUM
from etl.simulator.server import Simulator

STOP = {signal.SIGINT, signal.SIGTERM}


def main() -> None:
    """Print the base URL, then serve."""
    parser = argparse.ArgumentParser(prog="python -m etl.simulator", description="Serve one simulated account.")
    parser.add_argument("--files", type=int, default=1000, help="files in the account")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same files")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--page-limit", type=int, default=MAXIMUM, help="files on a page at most")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each answer takes")
    args = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)  # the threads inherit this, so only sigwait gets them
    accounts = {"sk-simulated": Account(args.files, seed=args.seed)}
    asked = {"port": args.port, "page_limit": args.page_limit, "latency": args.latency}
    with Simulator(accounts, keep_pages=True, **asked) as simulator:
        sys.stdout.write(f"{simulator.url}\n")
        sys.stdout.flush()
        signal.sigwait(STOP)


if __name__ == "__main__":
    main()

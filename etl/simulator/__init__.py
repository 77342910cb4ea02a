"""A provider of file lists that can be told to misbehave; the demo and the tests run against it."""

from etl.simulator.account import Account
from etl.simulator.faults import FAULTS
from etl.simulator.server import Fault, Request, Simulator
from etl.simulator.wire import Reply

__all__ = ["FAULTS", "Account", "Fault", "Reply", "Request", "Simulator"]

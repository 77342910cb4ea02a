"""The listing APIs that are known, one module each."""

from typing import TypeAlias

from etl.providers.base import Credential, Provider
from etl.providers.openai import OPENAI, OpenAICredential
from etl.providers.portkey import PORTKEY, PortkeyCredential

AnyCredential: TypeAlias = PortkeyCredential | OpenAICredential

PROVIDERS: dict[str, Provider] = {provider.type: provider for provider in (PORTKEY, OPENAI)}
"""By the `type` of a credential."""

__all__ = ["PROVIDERS", "AnyCredential", "Credential", "Provider"]

"""The listing APIs that are known, one module each."""

from typing import TYPE_CHECKING, TypeAlias, Union

from etl.providers.anthropic import ANTHROPIC
from etl.providers.azure import AZURE_OPENAI
from etl.providers.base import Credential, Provider
from etl.providers.cohere import COHERE
from etl.providers.fireworks import FIREWORKS
from etl.providers.gemini import GEMINI
from etl.providers.groq import GROQ
from etl.providers.mistral import MISTRAL
from etl.providers.openai import OPENAI
from etl.providers.openrouter import OPENROUTER
from etl.providers.portkey import PORTKEY
from etl.providers.together import TOGETHER
from etl.providers.workspace import WORKSPACE, WorkspaceCredential
from etl.providers.xai import XAI

PROVIDERS: dict[str, Provider] = {
    provider.type: provider
    for provider in (
        PORTKEY,
        OPENAI,
        AZURE_OPENAI,
        ANTHROPIC,
        GEMINI,
        MISTRAL,
        GROQ,
        TOGETHER,
        FIREWORKS,
        COHERE,
        XAI,
        OPENROUTER,
    )
}
"""By the `type` of a credential."""

KINDS = PROVIDERS | {WORKSPACE.type: WORKSPACE}
"""What a credential of the configuration may be; a workspace is many."""

if TYPE_CHECKING:
    AnyCredential: TypeAlias = Credential
else:
    AnyCredential = Union[tuple(provider.settings for provider in KINDS.values())]  # noqa: UP007 - made of a tuple


def adapter(credential: Credential) -> Provider:
    """Return the listing API that a credential speaks."""
    provider = PROVIDERS.get(credential.type, WORKSPACE)
    return provider.behind(credential) or provider


__all__ = ["KINDS", "PROVIDERS", "AnyCredential", "Credential", "Provider", "WorkspaceCredential", "adapter"]

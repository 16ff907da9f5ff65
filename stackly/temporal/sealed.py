"""Only what a key of ours sealed is obeyed. What is not becomes a payload that nobody can convert.

The codec must never raise in `decode`: one plain signal or result would wedge its workflow for ever. So it returns a
payload of an encoding of its own, and the converter raises where the SDK handles it: a start fails, an activity fails
and is not retried, a signal is dropped, an update or a query is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    PayloadCodec,
    PayloadConverter,
)
from temporalio.exceptions import ApplicationError

UNSEALED = "Unsealed"
ENCODING = b"binary/encrypted"
_REFUSED = b"stackly/unsealed"
# All that stands beside a ciphertext of ours; the SDK gives meanings to other names, and raises over some.
METADATA = frozenset({"encoding", "encryption-cipher", "key-account", "key-version", "key-workflow"})


class Unsealed(ApplicationError):  # noqa: N818 - its name is the type that histories carry
    """A message that no key of ours sealed for this workflow. Trying again changes nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"A message was refused: {reason}", type=UNSEALED, non_retryable=True)


def is_sealed(payload: Payload) -> bool:
    """By its looks; whether it opens is the codec's business."""
    named = payload.metadata.get("encoding") == ENCODING and METADATA.issuperset(payload.metadata)
    return named and not payload.external_payloads


def refused(reason: str) -> Payload:
    return Payload(metadata={"encoding": _REFUSED}, data=reason.encode())


class _Refusing(EncodingPayloadConverter):
    @property
    def encoding(self) -> str:
        return _REFUSED.decode()

    def to_payload(self, value: Any) -> Payload | None:  # noqa: ARG002 - nothing is ever sent in this encoding
        return None

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:  # noqa: ARG002
        raise Unsealed(payload.data.decode(errors="replace"))


class SealedPayloads(CompositePayloadConverter):
    """The default conversions, and the refusal."""

    def __init__(self) -> None:
        super().__init__(_Refusing(), *DefaultPayloadConverter.default_encoding_payload_converters)


# What only Temporal itself says. It names no error of ours, so it needs no seal; whoever reads one looks at the row.
_OWN_OF_TEMPORAL = frozenset(
    {
        "timeout_failure_info",
        "canceled_failure_info",
        "terminated_failure_info",
        "server_failure_info",
        "reset_workflow_failure_info",
        "activity_failure_info",
        "child_workflow_execution_failure_info",
    }
)


class SealedFailures(DefaultFailureConverter):
    """A failure counts with its message, stack and *type* sealed.

    The type beside the seal is in clear: it is for people in Temporal's own tools, and never read.
    """

    def __init__(self) -> None:
        super().__init__(encode_common_attributes=True)

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        super().to_failure(exception, payload_converter, failure)
        attributes = payload_converter.from_payload(failure.encoded_attributes)
        attributes["type"] = failure.application_failure_info.type
        failure.encoded_attributes.CopyFrom(payload_converter.to_payload(attributes))

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """Never raises: inside a workflow that would wedge it, whatever a stranger put into the failure's fields."""
        try:
            return super().from_failure(self._believed(failure, payload_converter), payload_converter)
        except Unsealed as e:
            return e
        except Exception as e:  # noqa: BLE001 - an enum out of range, a cause too deep: all are a stranger's
            return Unsealed(f"a failure that cannot be read ({type(e).__name__})")

    def _believed(self, failure: Failure, payload_converter: PayloadConverter) -> Failure:
        """The part of it that counts. Raises: Unsealed."""
        believed = Failure()
        believed.CopyFrom(failure)
        if failure.WhichOneof("failure_info") in _OWN_OF_TEMPORAL:
            for name in ("timeout_failure_info", "reset_workflow_failure_info"):
                if failure.HasField(name):
                    getattr(believed, name).ClearField("last_heartbeat_details")
            if failure.HasField("canceled_failure_info"):
                believed.canceled_failure_info.ClearField("details")
            return believed
        if not failure.HasField("encoded_attributes"):
            raise Unsealed("a failure that nobody sealed")
        attributes = payload_converter.from_payload(failure.encoded_attributes)
        if not isinstance(attributes, dict):
            raise Unsealed("a failure without its sealed message")
        if failure.HasField("application_failure_info"):
            believed.application_failure_info.type = str(attributes.get("type") or "")
        return believed


@dataclass(frozen=True)
class SealedConverter(DataConverter):
    """The converter of every worker and client.

    A payload that names another store than Temporal raises in the SDK before any codec sees it, and would wedge its
    workflow as well: what does not look sealed is refused there already.
    """

    async def _decode_reference_payload_sequence(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [p if is_sealed(p) else refused("it was not sealed") for p in payloads]


def data_converter(codec: PayloadCodec) -> DataConverter:
    """Failures' messages and stacks are encrypted as well."""
    return SealedConverter(
        payload_converter_class=SealedPayloads, payload_codec=codec, failure_converter_class=SealedFailures
    )

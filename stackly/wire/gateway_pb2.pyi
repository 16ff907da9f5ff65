from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StepVerdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STEP_VERDICT_UNSPECIFIED: _ClassVar[StepVerdict]
    GRANTED: _ClassVar[StepVerdict]
    ATTACH: _ClassVar[StepVerdict]
    DONE: _ClassVar[StepVerdict]
    GONE: _ClassVar[StepVerdict]
    REFUSED: _ClassVar[StepVerdict]

class Refusal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFUSAL_UNSPECIFIED: _ClassVar[Refusal]
    CANCELLED: _ClassVar[Refusal]
    OVER: _ClassVar[Refusal]
    STALE_EPOCH: _ClassVar[Refusal]
    UNEXPECTED: _ClassVar[Refusal]
    LOST_LEASE: _ClassVar[Refusal]

class Interruption(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INTERRUPTION_UNSPECIFIED: _ClassVar[Interruption]
    STOPPED: _ClassVar[Interruption]
    CUT_OFF: _ClassVar[Interruption]
STEP_VERDICT_UNSPECIFIED: StepVerdict
GRANTED: StepVerdict
ATTACH: StepVerdict
DONE: StepVerdict
GONE: StepVerdict
REFUSED: StepVerdict
REFUSAL_UNSPECIFIED: Refusal
CANCELLED: Refusal
OVER: Refusal
STALE_EPOCH: Refusal
UNEXPECTED: Refusal
LOST_LEASE: Refusal
INTERRUPTION_UNSPECIFIED: Interruption
STOPPED: Interruption
CUT_OFF: Interruption

class Chunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class EnrolRequest(_message.Message):
    __slots__ = ("token", "public_key_pem", "version", "capabilities_json")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_PEM_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_JSON_FIELD_NUMBER: _ClassVar[int]
    token: str
    public_key_pem: bytes
    version: str
    capabilities_json: str
    def __init__(self, token: _Optional[str] = ..., public_key_pem: _Optional[bytes] = ..., version: _Optional[str] = ..., capabilities_json: _Optional[str] = ...) -> None: ...

class EnrolReply(_message.Message):
    __slots__ = ("agent_id", "role", "account_id", "certificate_pem", "ca_pem", "gateway_address", "namespace", "keys_json", "credentials_json", "run", "test", "machine", "deadline")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    CA_PEM_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KEYS_JSON_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_JSON_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    role: str
    account_id: str
    certificate_pem: bytes
    ca_pem: bytes
    gateway_address: str
    namespace: str
    keys_json: str
    credentials_json: str
    run: str
    test: str
    machine: str
    deadline: str
    def __init__(self, agent_id: _Optional[str] = ..., role: _Optional[str] = ..., account_id: _Optional[str] = ..., certificate_pem: _Optional[bytes] = ..., ca_pem: _Optional[bytes] = ..., gateway_address: _Optional[str] = ..., namespace: _Optional[str] = ..., keys_json: _Optional[str] = ..., credentials_json: _Optional[str] = ..., run: _Optional[str] = ..., test: _Optional[str] = ..., machine: _Optional[str] = ..., deadline: _Optional[str] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("incarnation", "version", "capabilities_json", "polling", "inventory_json")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_JSON_FIELD_NUMBER: _ClassVar[int]
    POLLING_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_JSON_FIELD_NUMBER: _ClassVar[int]
    incarnation: str
    version: str
    capabilities_json: str
    polling: bool
    inventory_json: str
    def __init__(self, incarnation: _Optional[str] = ..., version: _Optional[str] = ..., capabilities_json: _Optional[str] = ..., polling: _Optional[bool] = ..., inventory_json: _Optional[str] = ...) -> None: ...

class HeartbeatReply(_message.Message):
    __slots__ = ("revoked", "test_over")
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    TEST_OVER_FIELD_NUMBER: _ClassVar[int]
    revoked: bool
    test_over: bool
    def __init__(self, revoked: _Optional[bool] = ..., test_over: _Optional[bool] = ...) -> None: ...

class StepKey(_message.Message):
    __slots__ = ("run", "test", "step", "attempt", "epoch")
    RUN_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    run: str
    test: str
    step: str
    attempt: int
    epoch: int
    def __init__(self, run: _Optional[str] = ..., test: _Optional[str] = ..., step: _Optional[str] = ..., attempt: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class BeginStepRequest(_message.Message):
    __slots__ = ("key", "incarnation")
    KEY_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    key: StepKey
    incarnation: str
    def __init__(self, key: _Optional[_Union[StepKey, _Mapping]] = ..., incarnation: _Optional[str] = ...) -> None: ...

class BeginStepReply(_message.Message):
    __slots__ = ("verdict", "outcome_json", "reason", "refusal", "input_json")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_JSON_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    INPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    verdict: StepVerdict
    outcome_json: str
    reason: str
    refusal: Refusal
    input_json: str
    def __init__(self, verdict: _Optional[_Union[StepVerdict, str]] = ..., outcome_json: _Optional[str] = ..., reason: _Optional[str] = ..., refusal: _Optional[_Union[Refusal, str]] = ..., input_json: _Optional[str] = ...) -> None: ...

class RenewStepRequest(_message.Message):
    __slots__ = ("key", "incarnation")
    KEY_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    key: StepKey
    incarnation: str
    def __init__(self, key: _Optional[_Union[StepKey, _Mapping]] = ..., incarnation: _Optional[str] = ...) -> None: ...

class RenewStepReply(_message.Message):
    __slots__ = ("held", "cancel_requested")
    HELD_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    held: bool
    cancel_requested: bool
    def __init__(self, held: _Optional[bool] = ..., cancel_requested: _Optional[bool] = ...) -> None: ...

class EndStepRequest(_message.Message):
    __slots__ = ("key", "incarnation", "outcome_json", "interruption")
    KEY_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_JSON_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTION_FIELD_NUMBER: _ClassVar[int]
    key: StepKey
    incarnation: str
    outcome_json: str
    interruption: Interruption
    def __init__(self, key: _Optional[_Union[StepKey, _Mapping]] = ..., incarnation: _Optional[str] = ..., outcome_json: _Optional[str] = ..., interruption: _Optional[_Union[Interruption, str]] = ...) -> None: ...

class EndStepReply(_message.Message):
    __slots__ = ("stored",)
    STORED_FIELD_NUMBER: _ClassVar[int]
    stored: bool
    def __init__(self, stored: _Optional[bool] = ...) -> None: ...

class ReportGoneRequest(_message.Message):
    __slots__ = ("incarnation",)
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    incarnation: str
    def __init__(self, incarnation: _Optional[str] = ...) -> None: ...

class Owner(_message.Message):
    __slots__ = ("run", "test", "epoch", "ended")
    RUN_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    run: str
    test: str
    epoch: int
    ended: bool
    def __init__(self, run: _Optional[str] = ..., test: _Optional[str] = ..., epoch: _Optional[int] = ..., ended: _Optional[bool] = ...) -> None: ...

class ReportGoneReply(_message.Message):
    __slots__ = ("gone", "current")
    GONE_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    gone: _containers.RepeatedCompositeFieldContainer[StepKey]
    current: _containers.RepeatedCompositeFieldContainer[Owner]
    def __init__(self, gone: _Optional[_Iterable[_Union[StepKey, _Mapping]]] = ..., current: _Optional[_Iterable[_Union[Owner, _Mapping]]] = ...) -> None: ...

class ListOwnersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListOwnersReply(_message.Message):
    __slots__ = ("current",)
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    current: _containers.RepeatedCompositeFieldContainer[Owner]
    def __init__(self, current: _Optional[_Iterable[_Union[Owner, _Mapping]]] = ...) -> None: ...

class IssueEnrolmentRequest(_message.Message):
    __slots__ = ("run", "test", "epoch", "machine")
    RUN_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    run: str
    test: str
    epoch: int
    machine: str
    def __init__(self, run: _Optional[str] = ..., test: _Optional[str] = ..., epoch: _Optional[int] = ..., machine: _Optional[str] = ...) -> None: ...

class IssueEnrolmentReply(_message.Message):
    __slots__ = ("token", "agent_id", "enrol_address", "ca_pem")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    ENROL_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CA_PEM_FIELD_NUMBER: _ClassVar[int]
    token: str
    agent_id: str
    enrol_address: str
    ca_pem: bytes
    def __init__(self, token: _Optional[str] = ..., agent_id: _Optional[str] = ..., enrol_address: _Optional[str] = ..., ca_pem: _Optional[bytes] = ...) -> None: ...

class ReadTreeRequest(_message.Message):
    __slots__ = ("run", "test", "epoch")
    RUN_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    run: str
    test: str
    epoch: int
    def __init__(self, run: _Optional[str] = ..., test: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class ReadStateRequest(_message.Message):
    __slots__ = ("run", "test", "epoch")
    RUN_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    run: str
    test: str
    epoch: int
    def __init__(self, run: _Optional[str] = ..., test: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class WriteStateRequest(_message.Message):
    __slots__ = ("run", "test", "epoch", "data")
    RUN_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    run: str
    test: str
    epoch: int
    data: bytes
    def __init__(self, run: _Optional[str] = ..., test: _Optional[str] = ..., epoch: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class WriteStateReply(_message.Message):
    __slots__ = ("accepted", "rescued", "reason")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    RESCUED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    rescued: bool
    reason: str
    def __init__(self, accepted: _Optional[bool] = ..., rescued: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("n", "at", "level", "text")
    N_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    n: int
    at: str
    level: str
    text: str
    def __init__(self, n: _Optional[int] = ..., at: _Optional[str] = ..., level: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("sample", "second", "tps", "latency_ms", "p95_ms", "errors")
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    TPS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    P95_MS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    sample: int
    second: int
    tps: float
    latency_ms: float
    p95_ms: float
    errors: int
    def __init__(self, sample: _Optional[int] = ..., second: _Optional[int] = ..., tps: _Optional[float] = ..., latency_ms: _Optional[float] = ..., p95_ms: _Optional[float] = ..., errors: _Optional[int] = ...) -> None: ...

class AppendRequest(_message.Message):
    __slots__ = ("run", "test", "source", "lines", "points")
    RUN_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    run: str
    test: str
    source: str
    lines: _containers.RepeatedCompositeFieldContainer[LogLine]
    points: _containers.RepeatedCompositeFieldContainer[Point]
    def __init__(self, run: _Optional[str] = ..., test: _Optional[str] = ..., source: _Optional[str] = ..., lines: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ..., points: _Optional[_Iterable[_Union[Point, _Mapping]]] = ...) -> None: ...

class AppendReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PutArtifactRequest(_message.Message):
    __slots__ = ("run", "test", "name", "sha256", "media_type", "data")
    RUN_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    run: str
    test: str
    name: str
    sha256: str
    media_type: str
    data: bytes
    def __init__(self, run: _Optional[str] = ..., test: _Optional[str] = ..., name: _Optional[str] = ..., sha256: _Optional[str] = ..., media_type: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class PutArtifactReply(_message.Message):
    __slots__ = ("key", "size")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    key: str
    size: int
    def __init__(self, key: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

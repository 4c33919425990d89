#!/usr/bin/env python3
"""Uses a running server as a stranger would: of everything it needs, it knows only the address.

Services, messages and fields come from reflection; nothing generated from the proto files is used. The address comes
as the only argument or in OFFER_RANKER_TARGET; the server must serve examples/paywall.yaml.
"""

import os
import sys
import time
import uuid

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

RANKING = "offer_ranker.v1.RankingService"
FEEDBACK = "offer_ranker.v1.FeedbackService"
CATALOG = "offer_ranker.v1.CatalogService"
HEALTH = "grpc.health.v1.Health"
REFLECTION = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
DEADLINE_S = 10


class Server:
    """A server that describes itself."""

    def __init__(self, address: str):
        self.channel = grpc.insecure_channel(address)
        database = ProtoReflectionDescriptorDatabase(self.channel)
        self.services = set(database.get_services())
        self.pool = descriptor_pool.DescriptorPool(database)

    # The slash keeps `service` and `name` free as names of fields.
    def call(self, service: str, name: str, /, **request) -> dict:
        """Calls a method with a request in JSON's terms and returns the answer in the same terms."""
        call = self.method(service, name, "unary_unary")
        return self.as_json(call(self.message(service, name, request), timeout=DEADLINE_S))

    def stream(self, service: str, name: str, /, **request):
        """Calls a method that answers with a stream."""
        answers = self.method(service, name, "unary_stream")(self.message(service, name, request), timeout=DEADLINE_S)
        return (self.as_json(answer) for answer in answers)

    def message(self, service: str, name: str, request: dict):
        """A request of the type that the method takes."""
        return json_format.ParseDict(request, self.types(service, name)[0](), descriptor_pool=self.pool)

    def method(self, service: str, name: str, kind: str):
        """What calls the method."""
        request, response = self.types(service, name)
        make = getattr(self.channel, kind)
        return make(
            f"/{service}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )

    def types(self, service: str, name: str):
        """Classes of a method's request and response, made of what reflection says."""
        method = self.pool.FindServiceByName(service).methods_by_name[name]
        return tuple(message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))

    def as_json(self, answer) -> dict:
        """A message as JSON, zeros and empty fields included."""
        return json_format.MessageToDict(
            answer,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
            descriptor_pool=self.pool,
        )

    def rank(self, **changes) -> dict:
        """A ranking at the paywall."""
        request = {"placement": "paywall", "user_id": "stranger", "market": "SE", "platform": "web"}
        return self.call(RANKING, "Rank", **request | changes)

    def record(self, **outcome) -> dict:
        """Reports one outcome and returns what became of it."""
        (result,) = self.call(FEEDBACK, "RecordOutcomes", outcomes=[outcome])["results"]
        return result

    def refusal(self, service: str, name: str, /, **request):
        """The rich error of a call that must be refused."""
        try:
            answer = self.call(service, name, **request)
        except grpc.RpcError as error:
            return rpc_status.from_call(error)
        raise AssertionError(f"{name} was not refused but answered {answer}")


def details(status, kind):
    """The detail of a rich error that is of this kind."""
    for detail in status.details:
        if detail.Is(kind.DESCRIPTOR):
            found = kind()
            detail.Unpack(found)
            return found
    raise AssertionError(f"no {kind.DESCRIPTOR.full_name} in {status}")


def services_are_listed(server: Server):
    missing = {RANKING, FEEDBACK, CATALOG, HEALTH} - server.services
    assert not missing, f"not listed: {missing}"


def both_versions_of_reflection_answer(server: Server):
    # The messages of v1 and v1alpha are the same on the wire.
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    for service in REFLECTION:
        call = server.channel.stream_stream(
            f"/{service}/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        answer = next(call(iter([request]), timeout=DEADLINE_S))
        names = {listed.name for listed in answer.list_services_response.service}
        assert {RANKING, service} <= names, f"{service} lists {names}"


def health_can_be_checked_and_watched(server: Server):
    for service in ["", RANKING]:
        assert server.call(HEALTH, "Check", service=service)["status"] == "SERVING"
        assert next(server.stream(HEALTH, "Watch", service=service))["status"] == "SERVING"


def a_ranking_is_priced_and_explained(server: Server):
    attributes = {"tenure_days": 30, "channel": "email", "is_returning": True}
    answer = server.rank(attributes=attributes, explain=True)
    offers = answer["offers"]
    assert [offer["slot"] for offer in offers] == list(range(1, len(offers) + 1)), offers
    assert len(offers) == 3 or offers[-1]["offer_id"] == "none", offers
    for offer, slot in zip(offers, answer["explanation"]["slots"]):
        assert offer["offer_id"] == "none" or offer["price"]["currency_code"] == "SEK", offer
        probabilities = {arm["offer_id"]: arm["probability"] for arm in slot["arms"]}
        assert abs(sum(probabilities.values()) - 1) < 1e-9, probabilities
        assert probabilities[offer["offer_id"]] == offer["propensity"], (offer, probabilities)
    features = {feature["name"]: feature["value"] for feature in answer["explanation"]["features"]}
    assert (features["intercept"], features["channel=email"], features["is_returning"]) == (1, 1, 1), features


def what_may_not_be_shown_comes_with_a_reason(server: Server):
    answer = server.rank(platform="ios", candidate_offer_ids=["student-half-price", "standard-monthly", "made-up"])
    reasons = {exclusion["offer_id"]: exclusion["reason"] for exclusion in answer["exclusions"]}
    expected = {
        "student-half-price": "EXCLUSION_REASON_PLATFORM",
        "made-up": "EXCLUSION_REASON_UNKNOWN_OFFER",
    }
    assert reasons == expected, reasons
    assert [offer["offer_id"] for offer in answer["offers"]] == ["standard-monthly"], answer


def a_repeated_request_gets_the_first_answer(server: Server):
    request_id = str(uuid.uuid4())
    first = server.rank(request_id=request_id)
    again = server.rank(request_id=request_id)
    assert again["decision_id"] == first["decision_id"] and again["offers"] == first["offers"]
    refused = server.refusal(
        RANKING, "Rank", placement="paywall", user_id="stranger", market="DE", request_id=request_id
    )
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT.value[0], refused


def outcomes_count_once(server: Server):
    answer = server.rank()
    lead = answer["offers"][0]["offer_id"]
    outcome = {
        "outcome_id": "order-1",
        "decision_id": answer["decision_id"],
        "offer_id": lead,
        "metric": "conversion",
        "value": 1,
    }
    codes = [
        server.record(**outcome)["code"],
        server.record(**outcome)["code"],
        server.record(**outcome | {"value": 2})["code"],
        server.record(**outcome | {"outcome_id": "order-2", "revises_outcome_id": "order-1", "value": 3})["code"],
    ]
    expected = ["RECORDED", "DUPLICATE", "CONFLICT", "REVISED"]
    assert codes == [f"FEEDBACK_CODE_{name}" for name in expected], codes
    wrong = server.record(**outcome | {"outcome_id": "order-3", "metric": "made-up"})
    assert wrong["code"] == "FEEDBACK_CODE_INVALID" and "made-up" in wrong["message"], wrong
    stored = server.call(RANKING, "GetDecision", decision_id=answer["decision_id"])
    assert stored["decision"]["offers"] == answer["offers"], stored
    slot = stored["slots"][0]
    assert (slot["offer_id"], slot["shown"], slot["totals"]) == (lead, True, {"conversion": 3}), slot


def money_is_reported_with_its_currency(server: Server):
    # Not an upgrade: the example offers none at night.
    answer = server.rank(candidate_offer_ids=["premium-monthly"])
    outcome = {
        "outcome_id": "payment-1",
        "decision_id": answer["decision_id"],
        "offer_id": "premium-monthly",
        "metric": "revenue",
        "value": 169,
    }
    lacking = server.record(**outcome)
    assert lacking["code"] == "FEEDBACK_CODE_INVALID" and "currency" in lacking["message"], lacking
    assert server.record(**outcome | {"currency": "SEK"})["code"] == "FEEDBACK_CODE_RECORDED"


def nothing_shown_can_be_said(server: Server):
    answer = server.rank()
    exposure = {"decision_id": answer["decision_id"], "slots": []}
    (result,) = server.call(FEEDBACK, "RecordExposures", exposures=[exposure])["results"]
    assert result["code"] == "FEEDBACK_CODE_RECORDED", result
    stored = server.call(RANKING, "GetDecision", decision_id=answer["decision_id"])
    assert not any(slot["shown"] for slot in stored["slots"]), stored["slots"]


def what_was_reported_is_learned(server: Server):
    server.rank()
    deadline = time.monotonic() + DEADLINE_S
    while True:
        state = server.call(CATALOG, "GetPlacement", placement="paywall")
        if state["posterior_version"]["offsets"] == state["log_ends"]:
            break
        assert time.monotonic() < deadline, f"not learned after {DEADLINE_S} s: {state}"
        time.sleep(0.05)
    assert state["state"] == "PLACEMENT_STATE_SERVING", state
    arms = state["arms"]
    assert len(arms) == 10 and sum(int(arm["shown"]) for arm in arms) > 0, arms
    assert abs(sum(arm["probability_of_leading"] for arm in arms) - 1) < 0.01, arms
    for arm in arms:
        interval = arm["posterior_interval"]
        assert interval["lower"] <= arm["posterior_mean"] <= interval["upper"], arm


def the_catalog_can_be_read_and_checked(server: Server):
    answer = server.call(CATALOG, "GetCatalog")
    assert answer["revision"] == "1" and answer["etag"], answer
    checked = server.call(CATALOG, "ApplyCatalog", catalog=answer["catalog"], validate_only=True)
    assert checked["etag"] == answer["etag"], "the same content has the same etag"
    answer["catalog"]["offers"][0]["kind"] = "OFFER_KIND_UNSPECIFIED"
    refused = server.refusal(CATALOG, "ApplyCatalog", catalog=answer["catalog"], validate_only=True)
    fields = [violation.field for violation in details(refused, error_details_pb2.BadRequest).field_violations]
    assert "offers[0].kind" in fields, fields


def every_violation_is_named_at_once(server: Server):
    refused = server.refusal(
        RANKING,
        "Rank",
        placement="paywall",
        user_id="",
        attributes={"tenure_days": "a month", "shoe_size": 42},
        market="XX",
        slots=11,
    )
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT.value[0], refused
    violations = details(refused, error_details_pb2.BadRequest).field_violations
    fields = sorted(violation.field for violation in violations)
    expected = ["attributes.shoe_size", "attributes.tenure_days", "market", "slots", "user_id"]
    assert fields == expected, violations
    assert all(violation.description for violation in violations), violations
    assert details(refused, error_details_pb2.ErrorInfo).reason, refused


def an_unknown_placement_is_not_found(server: Server):
    refused = server.refusal(RANKING, "Rank", placement="made-up", user_id="stranger")
    assert refused.code == grpc.StatusCode.NOT_FOUND.value[0], refused


CHECKS = [
    services_are_listed,
    both_versions_of_reflection_answer,
    health_can_be_checked_and_watched,
    a_ranking_is_priced_and_explained,
    what_may_not_be_shown_comes_with_a_reason,
    a_repeated_request_gets_the_first_answer,
    outcomes_count_once,
    money_is_reported_with_its_currency,
    nothing_shown_can_be_said,
    what_was_reported_is_learned,
    the_catalog_can_be_read_and_checked,
    every_violation_is_named_at_once,
    an_unknown_placement_is_not_found,
]


def main() -> int:
    target = sys.argv[1] if len(sys.argv) > 1 else os.environ["OFFER_RANKER_TARGET"]
    server = Server(target.removeprefix("http://"))
    failed = 0
    for check in CHECKS:
        try:
            check(server)
        except (AssertionError, grpc.RpcError) as error:
            failed += 1
            print(f"{check.__name__} ... FAILED: {error}")
        else:
            print(f"{check.__name__} ... ok")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Contract test of /openapi.json with schemathesis: requests per operation, and checks of the responses.

Every operation gets random requests with valid and invalid data, and all boundary cases of its parameters and its body
(longest, smallest, beyond the bound, wrong type, too many or too few). In the short form, a boundary case of a body is
tried with one of the fields that have it, and invalid data are not tried again with existing resources: they are
rejected before the resource is looked up.

Only the test itself imports this module: importing schemathesis takes a second of CPU, as would the generation of all
boundary cases by `schema.parametrize()` during collection.
"""

import asyncio
import json

import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.generation.feedback import NO_FEEDBACK
from schemathesis.generation.meta import CoveragePhaseData
from schemathesis.pytest._test_builder import build_operation_test
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection

from vocelio.gateway.api.routes import get_openapi

SHORT_FORM_EXAMPLES = 2  # random requests per operation in the short form
REJECTION_STATUSES = ["400", "401", "403", "404", "405", "409", "412", "413", "415", "422", "428"]
CONFIG = SchemathesisConfig.from_dict(
    {
        "generation": {"mode": "all", "allow-x00": True},
        "checks": {
            "negative_data_rejection": {"expected-statuses": REJECTION_STATUSES},
            # Some rules cannot be expressed in a schema: a cursor of another list, an unknown time zone.
            "positive_data_acceptance": {"enabled": False},
            "not_a_server_error": {
                "expected-statuses": ["2xx", "3xx", "4xx", "502"]
            },  # 502: an account that Twilio does not know
        },
    }
)


@schemathesis.serializer("audio/wav")
def pass_through(context, value):
    """Serialize a body that is not JSON."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


class ApiContract:
    """The parsed OpenAPI document. ``fuzz`` is the number of random requests per operation; 0 is the short form."""

    def __init__(self, fuzz):
        load_all_checks()
        self._schema = schemathesis.openapi.from_dict(json.loads(asyncio.run(get_openapi(None)).body), config=CONFIG)
        self._fuzz = fuzz
        self.operations = {operation.ok().label for operation in self._schema.get_all_operations()}

    def try_operation(self, method, path, probe):
        """Test one operation. Raises FailureGroup if a response does not conform to the document."""
        tried = set()

        @settings(
            max_examples=self._fuzz or SHORT_FORM_EXAMPLES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=not self._fuzz,
            database=None,
        )
        def check_case(case):
            edge = None if self._fuzz else _edge_case(case)
            if edge is None or edge not in tried:
                probe.check_arbitrary(case)
                probe.check_documented(case, beyond=edge is None)
                tried.add(edge)

        build_operation_test(
            config=self._schema.config,
            operation=self._schema[path][method],
            test_func=check_case,
            given_kwargs={},
            feedback=NO_FEEDBACK,
        )()


def _edge_case(case):
    """Return the identity of a boundary case, None for random cases."""
    phase = case.meta.phase.data
    if not isinstance(phase, CoveragePhaseData):
        return None
    description = phase.description.rpartition(": ")[2]  # of "Object with valid 'hold' value: Maximum length string"
    return case.meta.generation.mode, phase.scenario, phase.parameter_location, phase.parameter, description


class OperationProbe:
    """Sends requests of one operation and checks the responses; ``known`` has ids of existing resources."""

    def __init__(self, origin, key, known):
        self._origin, self._headers, self._known = origin, {"Authorization": f"Bearer {key}"}, known
        self._session = requests.Session()
        self._session.trust_env = False  # else proxy settings are looked up for every request
        self._auth_enforced, self._sent_requests = set(), set()

    def check_arbitrary(self, case):
        """Send the case unchanged."""
        self._request(case)

    def check_documented(self, case, *, beyond):
        """Send the case for existing resources; invalid data only if ``beyond``, and no request twice."""
        if not case.path_parameters:
            return
        case.path_parameters.update({name: self._known[name] for name in case.path_parameters})
        request = f"{case.method} {case.media_type} {case}"
        if request not in self._sent_requests and (beyond or case.meta.generation.mode.is_positive):
            self._request(case, negative_data_rejection)
            self._sent_requests.add(request)

    def _request(self, case, *excluded):
        case.call_and_validate(
            self._origin,
            self._session,
            self._headers,
            additional_checks=[self._enforces_auth],
            excluded_checks=[ignored_auth, *excluded],
        )

    def _enforces_auth(self, ctx, response, case):
        """Check that authentication is enforced, with two more requests; once per operation."""
        ctx.auth_enforced_operations = self._auth_enforced
        return ignored_auth(ctx, response, case)

"""/openapi.json as schemathesis tries it: which requests it makes of each operation, and what it checks of the answers.

Of each operation there are random requests, with data that fit the description and data that do not, and all edges of
its parameters and its body: the longest, the smallest, the one beyond, another type, one too many or too few. In the
short form an edge of a body is tried at one of the fields that have it, and what lies beyond an edge is not tried once
more on things that there are: it is refused before they are looked for.

Only the test that asks imports this: schemathesis takes a second of CPU, which not all processes that collect tests
should pay, and so do all edges of all operations, which `schema.parametrize()` wants while it is collected.
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

FEW = 2  # random requests of an operation in the short form
REFUSED = ["400", "401", "403", "404", "405", "409", "412", "413", "415", "422", "428"]
CONFIG = SchemathesisConfig.from_dict(
    {
        "generation": {"mode": "all", "allow-x00": True},
        "checks": {
            "negative_data_rejection": {"expected-statuses": REFUSED},
            # What no schema can say is refused, too: a cursor of another list, a time zone that there is not.
            "positive_data_acceptance": {"enabled": False},
            "not_a_server_error": {
                "expected-statuses": ["2xx", "3xx", "4xx", "502"]
            },  # 502: an account that Twilio has not
        },
    }
)


@schemathesis.serializer("audio/wav")
def pass_through(context, value):
    """A body that is no JSON."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


class ApiContract:
    """The description, read once. ``fuzz``: how many random requests are made of an operation; 0 is the short form."""

    def __init__(self, fuzz):
        load_all_checks()
        self._schema = schemathesis.openapi.from_dict(json.loads(asyncio.run(get_openapi(None)).body), config=CONFIG)
        self._fuzz = fuzz
        self.operations = {made.ok().label for made in self._schema.get_all_operations()}

    def try_operation(self, method, path, asking):
        """Make the requests of one operation. Raises FailureGroup when an answer is not as it is described."""
        tried = set()

        @settings(
            max_examples=self._fuzz or FEW,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=not self._fuzz,
            database=None,
        )
        def one(case):
            edge = None if self._fuzz else _edge_case(case)
            if edge is None or edge not in tried:
                asking.check_arbitrary(case)
                asking.check_documented(case, beyond=edge is None)
                tried.add(edge)

        build_operation_test(
            config=self._schema.config,
            operation=self._schema[path][method],
            test_func=one,
            given_kwargs={},
            feedback=NO_FEEDBACK,
        )()


def _edge_case(case):
    """Which edge of what the case is about, if of any."""
    about = case.meta.phase.data
    if not isinstance(about, CoveragePhaseData):
        return None
    what = about.description.rpartition(": ")[2]  # of "Object with valid 'hold' value: Maximum length string"
    return case.meta.generation.mode, about.scenario, about.parameter_location, about.parameter, what


class OperationProbe:
    """Asks one operation of the API at ``origin`` and checks the answers: of anything, and of the ``known`` things."""

    def __init__(self, origin, key, known):
        self._origin, self._headers, self._known = origin, {"Authorization": f"Bearer {key}"}, known
        self._session = requests.Session()
        self._session.trust_env = False  # the machine's proxies would be looked up for each request
        self._enforced, self._asked = set(), set()

    def check_arbitrary(self, case):
        """Ask as it is."""
        self._request(case)

    def check_documented(self, case, *, beyond):
        """Ask of things that there are. Data that do not fit are sent only if ``beyond``, and nothing is sent twice."""
        if not case.path_parameters:
            return
        case.path_parameters.update({name: self._known[name] for name in case.path_parameters})
        request = f"{case.method} {case.media_type} {case}"
        if request not in self._asked and (beyond or case.meta.generation.mode.is_positive):
            self._request(case, negative_data_rejection)
            self._asked.add(request)

    def _request(self, case, *excluded):
        case.call_and_validate(
            self._origin,
            self._session,
            self._headers,
            additional_checks=[self._enforces_auth],
            excluded_checks=[ignored_auth, *excluded],
        )

    def _enforces_auth(self, ctx, response, case):
        """Two more requests, with no key and with a wrong one: once for the operation is enough."""
        ctx.auth_enforced_operations = self._enforced
        return ignored_auth(ctx, response, case)

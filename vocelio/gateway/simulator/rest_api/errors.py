"""Errors of the REST API as Twilio answers them: https://www.twilio.com/docs/usage/twilios-response#response-formats-exceptions."""

from typing import Any, Final

_DEFAULT_ERRORS: Final = {
    400: (20001, "Bad request"),
    401: (20003, "Authenticate"),
    403: (20006, "Access Denied"),
    404: (20404, "The requested resource was not found"),
    405: (20004, "Method not allowed"),
    429: (20429, "Too Many Requests"),
    500: (20500, "Internal Server Error"),
    503: (20503, "Service is unavailable. Please try again"),
}


class RestError(Exception):
    """A request that is refused: its HTTP status, and Twilio's code and message, the usual ones unless given."""

    def __init__(self, status: int, code: int | None = None, message: str = "") -> None:
        usual, text = _DEFAULT_ERRORS.get(status, (status, "Something went wrong"))
        self.status, self.code, self.message = status, code or usual, message or text
        super().__init__(f"{self.status} {self.code} {self.message}")

    def body(self) -> dict[str, Any]:
        """The body of the answer."""
        more = f"https://www.twilio.com/docs/errors/{self.code}"
        return {"code": self.code, "message": self.message, "more_info": more, "status": self.status}

"""Errors of the REST API in Twilio's format: https://www.twilio.com/docs/usage/twilios-response#response-formats-exceptions."""

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
    """An error response: HTTP status, and Twilio's code and message (by default those usual for the status)."""

    def __init__(self, status: int, code: int | None = None, message: str = "") -> None:
        default_code, default_message = _DEFAULT_ERRORS.get(status, (status, "Something went wrong"))
        self.status, self.code, self.message = status, code or default_code, message or default_message
        super().__init__(f"{self.status} {self.code} {self.message}")

    def body(self) -> dict[str, Any]:
        """Return the body of the response."""
        more_info = f"https://www.twilio.com/docs/errors/{self.code}"
        return {"code": self.code, "message": self.message, "more_info": more_info, "status": self.status}

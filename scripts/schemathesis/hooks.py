"""What a schema cannot say: refusals that depend on more than the form of a request."""

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData

# Each is the answer to a request that is well formed, and would be another one at another time or for another caller.
STATE = {
    # A cursor is made by a list, for that list; nobody can make one up.
    "invalid_cursor",
    # The caller names a version that it saw; another one is stored.
    "precondition_failed",
    # It changes the stock, and names no version.
    "precondition_required",
    # It is somebody else's.
    "forbidden",
    # The provider says no.
    "payment_declined",
    # The payment has less left, or was not paid back in full.
    "refund_exceeds_payment",
    "capture_exceeds_payment",
    "restock_needs_full_refund",
    # The check digit of a card number is arithmetic.
    "card_data_not_accepted",
    # The same key came with another request before.
    "idempotency_key_reused",
}


@schemathesis.hook
def filter_failure(context, failure, case, response) -> bool:
    """Leaves out that a well-formed request was refused, when its form is not why."""
    if not isinstance(failure, RejectedPositiveData):
        return True
    try:
        problem = response.json()
    except ValueError:
        return True
    if problem.get("code") in STATE:
        return False
    fields = {error.get("field") for error in problem.get("errors", [])}
    operation = case.operation.definition.raw.get("operationId")
    return (operation, fields) not in (
        # A refund is in the currency of its payment, which says how many decimals it has, and how much is too much.
        ("refundPayment", {"amount"}),
        ("capturePayment", {"amount"}),
        # Only the shop makes a token.
        ("mergeBasket", {"guest_token"}),
        # Left out it is the caller's, who is nobody where nobody asks.
        ("createBasket", {"user_id"}),
        ("createPayment", {"user_id"}),
    )

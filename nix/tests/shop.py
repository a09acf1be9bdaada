# What both tests do with the shop. Each function is given the machine to call from and the gateway's address; `keeper` is one
# that has the suite's own key.
import functools
import json


@functools.cache
def token(user, role=None):
    return keeper.succeed(f"shop-token --for 8h --user {user} {f'--role {role}' if role else ''}").strip()


def bearer(*who):
    return f"-H 'Authorization: Bearer {token(*who)}'"


def call(machine, url, body=None, headers=""):
    data = "" if body is None else f"--json '{json.dumps(body)}'"
    return json.loads(machine.succeed(f"curl -sS --fail-with-body -m 20 {headers} {data} '{url}'"))


def stock(machine, gateway, units):
    product = {
        "name": "Teapot",
        "description": "Cast iron",
        "price": 39.90,
        "currency": "USD",
        "stock_quantity": units,
        "category": "kitchen",
        "image_url": None,
    }
    return call(machine, f"{gateway}/api/products", product, bearer("kim", "catalogue"))["id"]


def buy(machine, gateway, user, product):
    """Basket, checkout, payment; returns the payment's id."""
    call(machine, f"{gateway}/api/baskets/{user}/items", {"product_id": product, "quantity": 2}, bearer(user))
    payment = call(machine, f"{gateway}/api/payments", {"user_id": user, "method": "credit_card"}, bearer(user))["id"]
    done = call(machine, f"{gateway}/api/payments/{payment}/process", {"payment_token": "tok_approve"}, f"-H 'Idempotency-Key: {payment}' {bearer(user)}")
    assert done["status"] == "completed", done
    return payment


def wait_told(machine, gateway, user):
    """Until the user has been told of one completed payment, and of no second one."""
    machine.wait_until_succeeds(
        f"curl -sSf -m 5 {bearer(user)} '{gateway}/api/notifications?user_id={user}&channel=log&status=sent' | "
        "jq -e '[.notifications[].event_type] == [\"payment.completed\"]'",
        timeout=180,
    )


def wait_settled(machine, gateway, user, product, sold):
    """Until Kafka has carried the news: so many units are sold, and the basket is empty."""
    machine.wait_until_succeeds(
        f"curl -sSf -m 5 {gateway}/api/products/{product} | jq -e '.units_sold == {sold}' && "
        f"curl -sSf -m 5 {bearer(user)} {gateway}/api/baskets/{user} | jq -e '.items == []'",
        timeout=180,
    )

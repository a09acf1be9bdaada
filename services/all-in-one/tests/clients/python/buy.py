"""Buys two of a product with the client that was made from the document, and prints the payment's id.

python3 buy.py GATEWAY PRODUCT USER
"""

import sys
from typing import TypeVar

from shop_client import Client
from shop_client.api.items import add_basket_item
from shop_client.api.payments import create_payment, process_payment
from shop_client.api.products import get_product
from shop_client.models import Basket, Charge, NewBasketItem, NewPayment, Payment, PaymentMethod, PaymentStatus, Problem, Product

Expected = TypeVar("Expected")


def must(answer: object, kind: type[Expected]) -> Expected:
    if not isinstance(answer, kind):
        raise SystemExit(f"not a {kind.__name__}: {answer}")
    return answer


def main(gateway: str, product: int, user: str) -> None:
    with Client(base_url=gateway) as shop:
        nothing = must(get_product.sync(999_999_999, client=shop), Problem)
        assert nothing.code == "product_not_found", nothing
        wanted = must(get_product.sync(product, client=shop), Product)
        item = NewBasketItem(product_id=wanted.id, quantity=2)
        basket = must(add_basket_item.sync(user, client=shop, body=item), Basket)
        assert [line.product_id for line in basket.items] == [product], basket
        order = NewPayment(user_id=user, method=PaymentMethod.CREDIT_CARD)
        key = f"{user}-checkout"
        pending = must(create_payment.sync(client=shop, body=order, idempotency_key=key), Payment)
        paid = must(process_payment.sync(pending.id, client=shop, body=Charge()), Payment)
        assert paid.status == PaymentStatus.COMPLETED, paid
        print(paid.id)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])

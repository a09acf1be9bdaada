"""Buys two of a product over gRPC, with the client that was made from the protos, and prints the payment's id.

python3 buy.py HOST:PORT PRODUCT USER
"""

import sys

import grpc
from shop.basket.v1 import basket_pb2, basket_pb2_grpc
from shop.payment.v1 import payment_pb2, payment_pb2_grpc
from shop.product.v1 import product_pb2, product_pb2_grpc

PATIENCE = 60.0


def main(gateway: str, product: int, user: str) -> None:
    with grpc.insecure_channel(gateway) as channel:
        products = product_pb2_grpc.ProductServiceStub(channel)
        try:
            products.GetProduct(product_pb2.GetProductRequest(id=999_999_999), timeout=PATIENCE)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call) and error.code() == grpc.StatusCode.NOT_FOUND, error
        else:
            raise SystemExit("a product that is not there")
        wanted = products.GetProduct(product_pb2.GetProductRequest(id=product), timeout=PATIENCE)
        item = basket_pb2.AddItemRequest(user_id=user, product_id=wanted.product.id, quantity=2)
        filled = basket_pb2_grpc.BasketServiceStub(channel).AddItem(item, timeout=PATIENCE)
        assert [line.product_id for line in filled.basket.items] == [product], filled
        payments = payment_pb2_grpc.PaymentServiceStub(channel)
        order = payment_pb2.CreatePaymentRequest(
            user_id=user,
            method=payment_pb2.PAYMENT_METHOD_CREDIT_CARD,
            idempotency_key=f"{user}-checkout",
        )
        pending = payments.CreatePayment(order, timeout=PATIENCE)
        paid = payments.ProcessPayment(payment_pb2.ProcessPaymentRequest(id=pending.payment.id), timeout=PATIENCE)
        assert paid.payment.status == payment_pb2.PAYMENT_STATUS_COMPLETED, paid
        print(paid.payment.id)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])

// Command clients buys two of a product over gRPC, with the client that was made from the protos, and prints the
// payment's id.
//
//	clients HOST:PORT PRODUCT USER
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"shop.test/clients/basketv1"
	"shop.test/clients/paymentv1"
	"shop.test/clients/productv1"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: clients HOST:PORT PRODUCT USER")
	}
	product, err := strconv.ParseInt(os.Args[2], 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	payment, err := buy(os.Args[1], product, os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(payment.Id)
}

func buy(gateway string, product int64, user string) (*paymentv1.Payment, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	connection, err := grpc.Dial(gateway, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer connection.Close()

	products := productv1.NewProductServiceClient(connection)
	_, err = products.GetProduct(ctx, &productv1.GetProductRequest{Id: 999_999_999})
	if status.Code(err) != codes.NotFound {
		return nil, fmt.Errorf("a product that is not there: %w", err)
	}
	wanted, err := products.GetProduct(ctx, &productv1.GetProductRequest{Id: product})
	if err != nil {
		return nil, err
	}
	filled, err := basketv1.NewBasketServiceClient(connection).AddItem(ctx, &basketv1.AddItemRequest{
		UserId: user, ProductId: wanted.Product.Id, Quantity: 2,
	})
	if err != nil {
		return nil, err
	}
	if items := filled.Basket.Items; len(items) != 1 || items[0].ProductId != product {
		return nil, fmt.Errorf("the basket holds %v", items)
	}
	payments := paymentv1.NewPaymentServiceClient(connection)
	key := user + "-checkout"
	pending, err := payments.CreatePayment(ctx, &paymentv1.CreatePaymentRequest{
		UserId: user, Method: paymentv1.PaymentMethod_PAYMENT_METHOD_CREDIT_CARD, IdempotencyKey: &key,
	})
	if err != nil {
		return nil, err
	}
	paid, err := payments.ProcessPayment(ctx, &paymentv1.ProcessPaymentRequest{Id: pending.Payment.Id})
	if err != nil {
		return nil, err
	}
	if paid.Payment.Status != paymentv1.PaymentStatus_PAYMENT_STATUS_COMPLETED {
		return nil, fmt.Errorf("the payment is %v", paid.Payment.Status)
	}
	return paid.Payment, nil
}

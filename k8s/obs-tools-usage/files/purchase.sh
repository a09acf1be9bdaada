# Buys something as a guest: a product of its own, so that the shop's stock stays as it was. SHOP is the gateway's address,
# STAFF a file with a token that may keep the catalogue; none where anybody may do anything.
set -eu
run=helm-test-$(date +%s)-$$
staff=
[ -z "${STAFF-}" ] || staff=$(cat "$STAFF")
token=$staff

call() {
  method=$1 path=$2 body=${3-}
  set -- -sS -m 20 --retry 5 --retry-connrefused -X "$method" -H "Idempotency-Key: $run-$method-$path"
  [ -z "$body" ] || set -- "$@" -H 'Content-Type: application/json' -d "$body"
  [ -z "$token" ] || set -- "$@" -H "Authorization: Bearer $token"
  answer=$(curl "$@" -w '\n%{http_code}' "$SHOP$path")
  status=${answer##*
}
  answer=${answer%
*}
  case $status in
    2??) echo "$method $path: $status" ;;
    *) echo "$method $path: $status $answer" >&2; exit 1 ;;
  esac
}

# has TEXT: what the last answer must show.
has() {
  case $answer in
    *"$1"*) ;;
    *) echo "$method $path: no $1 in $answer" >&2; exit 1 ;;
  esac
}

# member NAME: a text in the last answer.
member() { printf '%s' "$answer" | sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"; }

first() { printf '%s' "$answer" | sed 's/^{"id":"\{0,1\}\([^",}]*\).*/\1/'; }

call POST /api/products '{"name": "Helm test", "price": "12.50", "stock_quantity": 1, "category": "test"}'
product=$(first)
token=
call POST /api/guests
user=$(member user_id) token=$(member access_token)
call POST "/api/baskets/$user/items" "{\"product_id\": $product, \"quantity\": 1}"
has '"total":12.50'
call POST /api/payments "{\"user_id\": \"$user\", \"method\": \"credit_card\"}"
payment=$(first)
case $answer in
  *'"provider":"sandbox"'*) ;;
  *)
    # No test moves real money.
    call POST "/api/payments/$payment/cancel"
    token=$staff
    call DELETE "/api/products/$product"
    echo "ordered product $product and cancelled payment $payment, as it is no sandbox's"
    exit
    ;;
esac
call POST "/api/payments/$payment/process" '{"payment_token": "tok_approve"}'
has '"status":"completed"'

# The sale travels by events.
tries=0
until call GET "/api/products/$product" && printf '%s' "$answer" | grep -q '"stock_quantity":0'; do
  tries=$((tries + 1))
  [ "$tries" -lt 30 ] || { echo "the sale did not reach the stock: $answer" >&2; exit 1; }
  sleep 2
done
token=$staff
call DELETE "/api/products/$product"
echo "bought product $product by payment $payment"

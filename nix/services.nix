# What there is to run, by name: the one list from which packages, images, apps, module options and checks are made.
#   crate, binary   what cargo builds
#   kafka           whether it speaks to Kafka, and so needs its C library at build time
#   http, grpc      the ports it listens on unless told otherwise (a check compares them with the program's own)
#   inside          those of them that the gateway does not call
#   store           the local server it can be given: postgresql, mariadb or redis
#   section         its table under `services` in the gateway's settings, where the gateway calls it
#   calls           the services it calls itself
#   gatewayAt       where in its settings those of the gateway are, which it takes over without a restart
#   signs           whether it signs tokens, and so needs the suite's own key
#   embedded        whether it keeps its data in files of its own
{
  gateway = {
    crate = "shop-gateway";
    binary = "gateway";
    about = "API gateway";
    kafka = false;
    http = 8083;
    gatewayAt = [ ];
  };
  product = {
    crate = "shop-product";
    binary = "product-service";
    about = "product service";
    kafka = true;
    http = 8080;
    grpc = 50050;
    store = "postgresql";
    section = "product";
    signs = true;
    calls = [ "payment" ];
  };
  basket = {
    crate = "shop-basket";
    binary = "basket-service";
    about = "basket service";
    kafka = true;
    http = 8081;
    grpc = 50051;
    store = "redis";
    section = "basket";
    signs = true;
    calls = [ "product" ];
  };
  payment = {
    crate = "shop-payment";
    binary = "payment-service";
    about = "payment service";
    kafka = true;
    http = 8082;
    grpc = 50052;
    store = "mariadb";
    section = "payment";
    signs = true;
    calls = [
      "basket"
      "product"
      "notification"
    ];
  };
  notification = {
    crate = "shop-notification";
    binary = "notification-service";
    about = "notification service";
    kafka = true;
    http = 8084;
    grpc = 50053;
    inside = [ "grpc" ];
    store = "postgresql";
    section = "notification";
  };
  all-in-one = {
    crate = "shop";
    binary = "shop";
    about = "whole shop in one process";
    kafka = true;
    http = 8083;
    gatewayAt = [ "gateway" ];
    embedded = true;
    signs = true;
  };
}

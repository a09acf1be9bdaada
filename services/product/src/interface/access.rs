//! Who may do what with products and their stock. An operation without a row here is for nobody.

use shop_identity::{Access, Role, Rule, Who};

/// Everybody reads the catalogue.
const READ: Access = Access::Open;
const CHANGE: Access = Access::Only(&[Who::Has(Role::Catalogue)]);
/// A reservation belongs to a payment.
const STOCK: Access = Access::Only(&[Who::Service("payment")]);

/// Every operation.
pub(crate) const ACCESS: &[Rule] = &[
    Rule::new("GET /products", "shop.product.v1.ProductService/GetProducts", READ),
    Rule::new("GET /products/{id}", "shop.product.v1.ProductService/GetProduct", READ),
    Rule::new("POST /products", "shop.product.v1.ProductService/CreateProduct", CHANGE),
    Rule::new("PUT /products/{id}", "shop.product.v1.ProductService/UpdateProduct", CHANGE),
    Rule::new("POST /products/{id}/stock-adjustments", "shop.product.v1.ProductService/AdjustStock", CHANGE),
    Rule::new("GET /products/{id}/stock-movements", "shop.product.v1.ProductService/ListStockMovements", CHANGE),
    Rule::new("DELETE /products/{id}", "shop.product.v1.ProductService/DeleteProduct", CHANGE),
    Rule::new("", "shop.product.v1.StockService/ReserveStock", STOCK),
    Rule::new("", "shop.product.v1.StockService/ReleaseStock", STOCK),
    Rule::new("", "shop.product.v1.StockService/ListReservations", STOCK),
    Rule::new("", "shop.product.v1.StockService/SettleReservation", STOCK),
    Rule::new("", "shop.product.v1.StockService/CheckStock", STOCK),
];

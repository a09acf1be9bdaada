//! Kinds of callers.

/// A kind of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Without a token.
    Nobody,
    /// A guest, asking for what is his.
    Guest,
    /// A shopper, asking for what is hers.
    Owner,
    /// A shopper, asking for what is another's.
    Another,
    /// Who keeps the catalogue.
    Catalogue,
    /// Who helps shoppers.
    Support,
    /// Who runs the suite.
    Operator,
    /// The product service.
    Product,
    /// The basket service.
    Basket,
    /// The payment service.
    Payment,
    /// The notification service.
    Notification,
}

impl Caller {
    /// All of them, as the page has them.
    pub(crate) const ALL: [Self; 11] = [
        Self::Nobody,
        Self::Guest,
        Self::Owner,
        Self::Another,
        Self::Catalogue,
        Self::Support,
        Self::Operator,
        Self::Product,
        Self::Basket,
        Self::Payment,
        Self::Notification,
    ];

    /// What the page calls it.
    pub(crate) const fn heading(self) -> &'static str {
        match self {
            Self::Nobody => "no token",
            Self::Guest => "guest, his own",
            Self::Owner => "shopper, her own",
            Self::Another => "shopper, another's",
            Self::Catalogue => "`catalogue`",
            Self::Support => "`support`",
            Self::Operator => "`operator`",
            Self::Product => "`product`",
            Self::Basket => "`basket`",
            Self::Payment => "`payment`",
            Self::Notification => "`notification`",
        }
    }

    /// The name of the service that it is.
    pub(crate) const fn service(self) -> Option<&'static str> {
        match self {
            Self::Product => Some("product"),
            Self::Basket => Some("basket"),
            Self::Payment => Some("payment"),
            Self::Notification => Some("notification"),
            _ => None,
        }
    }
}

//! What users were told, over gRPC.

use std::sync::Arc;

use async_trait::async_trait;
use shop_config::Neighbour;
use shop_identity::Credential;
use shop_proto::notification::v1 as proto;
use shop_proto::notification::v1::personal_service_client::PersonalServiceClient;
use shop_rpc::Outgoing;
use shop_tls::TlsSettings;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::neighbour::away;
use crate::domain::{Error, NoticeRecords, Notices, UserId};

/// Where it is known what users are told; nothing is where nobody tells them.
pub(crate) fn notices(
    neighbour: Neighbour,
    tls: &TlsSettings,
    credential: Credential,
) -> anyhow::Result<Arc<dyn Notices>> {
    Ok(if neighbour.url.is_empty() {
        Arc::new(Nobody)
    } else {
        Arc::new(GrpcNotices::new(neighbour, tls, credential)?)
    })
}

/// Nobody tells users anything.
struct Nobody;

#[async_trait]
impl Notices for Nobody {
    async fn records(&self, _: &UserId, _: &str) -> Result<NoticeRecords, Error> {
        Ok(NoticeRecords::default())
    }
}

/// The notification service.
struct GrpcNotices {
    neighbour: Neighbour,
    client: PersonalServiceClient<InterceptedService<Channel, Outgoing>>,
}

impl GrpcNotices {
    /// At this address; connects with the first call, so that services may start in any order.
    fn new(neighbour: Neighbour, tls: &TlsSettings, credential: Credential) -> anyhow::Result<Self> {
        let client =
            PersonalServiceClient::with_interceptor(shop_rpc::channel(&neighbour, tls)?, Outgoing::new(credential));
        Ok(Self { neighbour, client })
    }
}

#[async_trait]
impl Notices for GrpcNotices {
    async fn records(&self, user: &UserId, after: &str) -> Result<NoticeRecords, Error> {
        let request = proto::GetUserRecordsRequest { user_id: user.as_str().to_owned(), after: after.to_owned() };
        let call = |request| {
            let mut client = self.client.clone();
            async move { client.get_user_records(request).await }
        };
        let answer = shop_rpc::call(&self.neighbour, "notification", request, call).await;
        let proto::GetUserRecordsResponse { preferences, notifications, next } =
            answer.map_err(|fault| away("notification", fault))?;
        Ok(NoticeRecords {
            preferences: Some(preferences),
            notifications,
            next: Some(next).filter(|next| !next.is_empty()),
        })
    }
}

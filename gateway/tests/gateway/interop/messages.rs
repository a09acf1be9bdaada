//! The messages of `grpc.testing`, as far as the cases need them; a field that is left out has its default.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Payload {
    #[prost(bytes = "vec", tag = "2")]
    pub(super) body: Vec<u8>,
}

impl Payload {
    /// So many zeros.
    pub(super) fn of(size: usize) -> Self {
        Self { body: vec![0; size] }
    }
}

/// How a call is to end.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EchoStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SimpleRequest {
    #[prost(int32, tag = "2")]
    pub(super) response_size: i32,
    #[prost(message, optional, tag = "3")]
    pub(super) payload: Option<Payload>,
    #[prost(message, optional, tag = "7")]
    pub(super) response_status: Option<EchoStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SimpleResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) payload: Option<Payload>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamingInputCallRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) payload: Option<Payload>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamingInputCallResponse {
    #[prost(int32, tag = "1")]
    pub(super) aggregated_payload_size: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ResponseParameters {
    #[prost(int32, tag = "1")]
    pub(super) size: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamingOutputCallRequest {
    #[prost(message, repeated, tag = "2")]
    pub(super) response_parameters: Vec<ResponseParameters>,
    #[prost(message, optional, tag = "3")]
    pub(super) payload: Option<Payload>,
    #[prost(message, optional, tag = "7")]
    pub(super) response_status: Option<EchoStatus>,
}

impl StreamingOutputCallRequest {
    /// Asks for answers of these sizes.
    pub(super) fn wanting(sizes: &[i32], own: usize) -> Self {
        let response_parameters = sizes.iter().map(|size| ResponseParameters { size: *size }).collect();
        Self { response_parameters, payload: Some(Payload::of(own)), response_status: None }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamingOutputCallResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) payload: Option<Payload>,
}

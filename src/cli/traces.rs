//! Where traces of calls are sent: the feature `otlp`.

use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};

/// Sends spans in batches from a thread of its own.
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends the spans of this process to a collector from now on. Which of them are sampled is said by
    /// `OTEL_TRACES_SAMPLER` as everywhere; by default those that their caller samples, and those without a caller's.
    pub(super) fn start(endpoint: &str) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        let resource = Resource::builder().with_service_name(env!("CARGO_PKG_NAME")).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        opentelemetry::global::set_tracer_provider(provider.clone());
        Ok(Self(provider))
    }

    /// Sends what is left, as long as that takes a few seconds at most.
    pub(super) async fn finish(self) {
        // On a thread that may wait: sending needs this runtime to go on.
        let sent = tokio::task::spawn_blocking(move || self.0.shutdown()).await;
        if let Ok(Err(error)) = sent {
            tracing::warn!(error.message = %error, "the last traces were not sent");
        }
    }
}

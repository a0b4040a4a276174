//! Which certificate a client of this crate believes.

use std::sync::Arc;

use causeway_proto::crypto::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// What makes a gateway's certificate good.
#[derive(Clone, Debug)]
pub enum Trust {
    /// It is the certificate with this SHA-256 hash, whatever name and issuer it has.
    Pinned([u8; 32]),
    /// It is issued by one of these, for the host's name.
    Roots(Arc<RootCertStore>),
    /// Whatever is shown will do: for tests and measurements on one machine.
    #[doc(hidden)]
    Anything,
}

impl Trust {
    /// Makes the TLS settings.
    ///
    /// # Errors
    ///
    /// When the cryptography provider does not support the protocol versions.
    pub fn client_config(&self) -> Result<ClientConfig, rustls::Error> {
        let provider = Arc::new(provider::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let config = match self {
            Self::Roots(roots) => builder
                .with_root_certificates(Arc::clone(roots))
                .with_no_client_auth(),
            Self::Pinned(hash) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pin {
                    hash: Some(*hash),
                    provider,
                }))
                .with_no_client_auth(),
            Self::Anything => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pin {
                    hash: None,
                    provider,
                }))
                .with_no_client_auth(),
        };
        Ok(config)
    }
}

/// Believes one certificate by its hash, or each; the handshake's signature is verified all the same.
#[derive(Debug)]
struct Pin {
    hash: Option<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self
            .hash
            .is_none_or(|hash| digest::sha256(end_entity) == hash)
        {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(
                rustls::CertificateError::ApplicationVerificationFailure,
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

// For nginx-front.conf: the client's certificate as RFC 9440 has it, the DER in base64 between colons. Nothing without a certificate.
function clientCert(request) {
    const pem = request.variables.ssl_client_raw_cert;
    return pem ? `:${pem.replace(/-----[A-Z ]+-----|\s/g, '')}:` : '';
}

export default { clientCert };

<?php
// PHP 8 with its sodium extension; no package is needed.

/** The claims of a genuine result. $jwks: what /.well-known/jwks.json holds; $caller: your name in the settings. */
function verify_result(string $token, array $jwks, string $caller, ?int $now = null): array
{
    $decode = fn (string $part): string => (string) base64_decode(strtr($part, '-_', '+/'));
    $parts = explode('.', $token);
    $header = json_decode($decode($parts[0]), true);
    $keys = array_filter($jwks['keys'], fn (array $key): bool => $key['kid'] === ($header['kid'] ?? null));
    $key = $decode(reset($keys)['x'] ?? '');
    $signature = $decode($parts[2] ?? '');
    $isOurs = count($parts) === 3
        && ($header['alg'] ?? null) === 'EdDSA'
        && strlen($key) === SODIUM_CRYPTO_SIGN_PUBLICKEYBYTES
        && strlen($signature) === SODIUM_CRYPTO_SIGN_BYTES
        && sodium_crypto_sign_verify_detached($signature, "$parts[0].$parts[1]", $key);
    if (!$isOurs) {
        throw new RuntimeException('not a result of countersign');
    }
    $claims = json_decode($decode($parts[1]), true);
    if ($claims['iss'] !== 'countersign' || $claims['aud'] !== $caller) {
        throw new RuntimeException('made for somebody else');
    }
    if ($claims['exp'] < ($now ?? time())) {
        throw new RuntimeException('too old');
    }
    return $claims;
}

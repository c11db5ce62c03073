/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens made with OpenSSL 3 over {"sub":"u1","role":"viewer","exp":4102444800}, with keys that
 * were thrown away afterwards, and the JWKS document of their public halves: five that can be used
 * and nine that cannot. */
#ifndef WH_TESTS_ACCESS_VECTORS_H
#define WH_TESTS_ACCESS_VECTORS_H

/* clang-format off */
static const char jwks[] =
    "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"v3utVKvGVrZvVMyqQmeyeigFPmeq3yPNUvZdDnaUrj8eAhVsCb6Rlrhxi"
    "Ekn7reHGmyJVp-6tiotsEUmjf3hGImP3bsZHxwV7dfyKq4uthl1XaWPrDbs_7tL5oZFhpNmIlb8pjQcPj5JV"
    "jmT1YX7oYQNp7GFloOwhMlEVv5Vvsmh5dMZ-C5OdykaDrO06rA73FbCAyH8L1HQOHlHeRlCNSgu4S2g6eu8b"
    "mYE3yeI8dLZ6NRH-VGx-GjbQX29naPFeg2_FydrYMp81UfG3uPu1LjSWgnxKKPSM1hr8lVxvGX9d5ubEbKj4"
    "t4-cRm-7hbPRI-14W8jixnLM282mxXZZQ\",\"e\":\"AQAB\",\"kid\":\"rsa-1\",\"use\":\"sig\"},{\"kty\":\"EC\""
    ",\"crv\":\"P-256\",\"kid\":\"ec-256\",\"x\":\"jJiwCJq7bY_h7T5oG7DR6QAHckiBBtkBgrTjSMnYa0o\",\"y\":"
    "\"HcGrm3KgN1UeQXiil_TuBrEbgsRoEZfvEmE9VHLT4WY\",\"alg\":\"ES256\"},{\"kty\":\"EC\",\"crv\":\"P-38"
    "4\",\"kid\":\"ec-384\",\"x\":\"sThS6B2y9mV8ohe2DPB5vNhu-y1AY-_RJxWHynqCcqIRnwbnfkr4NvsuOdd0i"
    "tXv\",\"y\":\"Kt5ee3EC6tqyKp3w8BJsQ-wYNdNVQDFk3YytClv_CauqD_wV1od2mUEtXL_0_oHe\",\"alg\":\"E"
    "S384\"},{\"kty\":\"EC\",\"crv\":\"P-521\",\"kid\":\"ec-521\",\"x\":\"AIQZTf-mo7UmiyWeorHRMR2T_LLxnz7"
    "R2K_0dxiO1FJ7bwp_30PRDIxDbivJd9oIJGkHOuxjei9z3jy8lNykVRTn\",\"y\":\"AM0UxjH8DWNDRN11prkc"
    "MOTBF1QnySTrCSsammy7ZAPCcYwvWCrS4AJGULu2Ydiet0V9KBsqIpKzz5QXi1nwyozV\",\"alg\":\"ES512\"}"
    ",{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"ed-1\",\"x\":\"pN_pwCdWfq5ZG7m8yoQ2TymiTDgYaaUDQPIV"
    "UzWCYog\",\"alg\":\"EdDSA\"},{\"kty\":\"RSA\",\"n\":\"l-mxdq831Phd_kGG0WYRSAvkHi9UDBGmmKg7NIRP3S"
    "FopfEMwzfu2hQPf8IgS2qSvuwH_vu9l-9vrgkV495eI0bl2fzOqZxo8PaXOwKESAf3Z1FbR6zY4PwMU1QSNL"
    "zT7WuDvPFrChm6b1qmXLMUC2LlXDSCbkjvSblSZ5BIHnk\",\"e\":\"AQAB\",\"kid\":\"small\"},{\"kty\":\"oct"
    "\",\"k\":\"AAAA\",\"kid\":\"oct\"},{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"off\",\"x\":\"jJiwCJq7bY_h7T5"
    "oG7DR6QAHckiBBtkBgrTjSMnYa0o\",\"y\":\"jJiwCJq7bY_h7T5oG7DR6QAHckiBBtkBgrTjSMnYa0o\",\"alg"
    "\":\"ES256\"},{\"kty\":\"RSA\",\"n\":\"v3utVKvGVrZvVMyqQmeyeigFPmeq3yPNUvZdDnaUrj8eAhVsCb6Rlrh"
    "xiEkn7reHGmyJVp-6tiotsEUmjf3hGImP3bsZHxwV7dfyKq4uthl1XaWPrDbs_7tL5oZFhpNmIlb8pjQcPj5"
    "JVjmT1YX7oYQNp7GFloOwhMlEVv5Vvsmh5dMZ-C5OdykaDrO06rA73FbCAyH8L1HQOHlHeRlCNSgu4S2g6eu"
    "8bmYE3yeI8dLZ6NRH-VGx-GjbQX29naPFeg2_FydrYMp81UfG3uPu1LjSWgnxKKPSM1hr8lVxvGX9d5ubEbK"
    "j4t4-cRm-7hbPRI-14W8jixnLM282mxXZZQ\",\"e\":\"AQAB\",\"kid\":\"enc\",\"use\":\"enc\"},{\"kty\":\"RSA"
    "\",\"n\":\"v3utVKvGVrZvVMyqQmeyeigFPmeq3yPNUvZdDnaUrj8eAhVsCb6RlrhxiEkn7reHGmyJVp-6tiots"
    "EUmjf3hGImP3bsZHxwV7dfyKq4uthl1XaWPrDbs_7tL5oZFhpNmIlb8pjQcPj5JVjmT1YX7oYQNp7GFloOwh"
    "MlEVv5Vvsmh5dMZ-C5OdykaDrO06rA73FbCAyH8L1HQOHlHeRlCNSgu4S2g6eu8bmYE3yeI8dLZ6NRH-VGx-"
    "GjbQX29naPFeg2_FydrYMp81UfG3uPu1LjSWgnxKKPSM1hr8lVxvGX9d5ubEbKj4t4-cRm-7hbPRI-14W8ji"
    "xnLM282mxXZZQ\",\"e\":\"AQAB\",\"kid\":\"algmix\",\"use\":\"sig\",\"alg\":\"ES256\"},{\"kty\":\"RSA\",\"n\""
    ":\"v3utVKvGVrZvVMyqQmeyeigFPmeq3yPNUvZdDnaUrj8eAhVsCb6RlrhxiEkn7reHGmyJVp-6tiotsEUmjf"
    "3hGImP3bsZHxwV7dfyKq4uthl1XaWPrDbs_7tL5oZFhpNmIlb8pjQcPj5JVjmT1YX7oYQNp7GFloOwhMlEVv"
    "5Vvsmh5dMZ-C5OdykaDrO06rA73FbCAyH8L1HQOHlHeRlCNSgu4S2g6eu8bmYE3yeI8dLZ6NRH-VGx-GjbQX"
    "29naPFeg2_FydrYMp81UfG3uPu1LjSWgnxKKPSM1hr8lVxvGX9d5ubEbKj4t4-cRm-7hbPRI-14W8jixnLM2"
    "82mxXZZQ\",\"e\":\"AQAB\",\"kid\":\"hs\",\"use\":\"sig\",\"alg\":\"HS256\"},\"x\",{\"kty\":\"OKP\",\"crv\":\"X"
    "25519\",\"x\":\"pN_pwCdWfq5ZG7m8yoQ2TymiTDgYaaUDQPIVUzWCYog\",\"kid\":\"x\"},{\"kty\":\"RSA\",\"n\""
    ":\"v3utVKvGVrZvVMyqQmeyeigFPmeq3yPNUvZdDnaUrj8eAhVsCb6RlrhxiEkn7reHGmyJVp-6tiotsEUmjf"
    "3hGImP3bsZHxwV7dfyKq4uthl1XaWPrDbs_7tL5oZFhpNmIlb8pjQcPj5JVjmT1YX7oYQNp7GFloOwhMlEVv"
    "5Vvsmh5dMZ-C5OdykaDrO06rA73FbCAyH8L1HQOHlHeRlCNSgu4S2g6eu8bmYE3yeI8dLZ6NRH-VGx-GjbQX"
    "29naPFeg2_FydrYMp81UfG3uPu1LjSWgnxKKPSM1hr8lVxvGX9d5ubEbKj4t4-cRm-7hbPRI-14W8jixnLM2"
    "82mxXZZQ\",\"e\":\"AQAB\",\"kid\":\"ops\",\"use\":\"sig\",\"key_ops\":[\"encrypt\"]}]}";
static const struct {
    const char *name;
    const char *token;
} vectors[] = {
    {"RS256",
    "eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYS0xIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ1MSIsInJvbGUiOiJ2"
    "aWV3ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.uY0ezJ-vG_3QP_3PjekamzWio-FrPzSfcEpnL-aDNkN29rBNIE1"
    "ePf3C41zgnyu1aUYoP2TcA03QZTqGI8V4-l1QpzMONXdjYNOBHAGFcXwyfShblyvdxnEpzr86CMNOt4PALRX"
    "8YarlomNSGYUzmtJfZYahh2d03Of83GnCeTkUGDjK2ZCbT4UOfcScrcoUMHjFC7XCbgqJrZArfV1GHQ_gFST"
    "UxeXQaLTdyrFpyNiHylny_LZDW7Bw5L0UJUN7RLHaxq6XGTfhN3lchwPx0SHTKV8Yk2k4FStchqglRiy7xT2"
    "aNB5eKLDOKi1qWrD4LxK-7tUPQt5WLqzAxpD7gg"},
    {"PS256",
    "eyJhbGciOiJQUzI1NiIsImtpZCI6InJzYS0xIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ1MSIsInJvbGUiOiJ2"
    "aWV3ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.Bd53cJ6dbES_DzGKiduBm-PTOfQfB2s3rlgszUjFm3_6E0f-ZMn"
    "xepLH9OO-gu_ESDy63Uss1yjwAX1LiFaVa1XHNTW1h9PGJZHJfNwSEPQxwM4_2CIczz5iJdDt6LZMmNmutg5"
    "ri3IJK23E3zuoJmT-JeviI-aTO79CYf9zUb_U8pibO9KdC6fA9Qy_U-ZTnWNFoHTUZKPDt6_x1B60swEWwSv"
    "9-CeUGVATAeyrapy-7LhiMlWQ_RW_fUJPbjn8b_8PrO30u4u5PwX4DjjWjoyKJns6nOEeQUQdRapLD4pyxwW"
    "5bSilXNMrWq11VdDicCDfp0BKv09fSLMxIe5P4Q"},
    {"ES256",
    "eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjLTI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1MSIsInJvbGUiOiJ"
    "2aWV3ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.W9JsA0gaLuHFr9rmuiKNNOONHaiBHDPdu9gGS58mSNunMKMQ0s"
    "HGyTQGUAmAK6B_Vebfb_m5imeP47vDRREJ9A"},
    {"RS384",
    "eyJhbGciOiJSUzM4NCIsImtpZCI6InJzYS0xIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ1MSIsInJvbGUiOiJ2"
    "aWV3ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.p69bRypw3SVJ3wWekW1nXwCRtLdmKMabTIAGJIxKjeXtVmLm2J2"
    "QJ0iIt7MBer3SguHMCfVVwz0W7F9BoIOOlZeVeHLV1G7dDLJSu-HCEDFQgkce_lC7xsKjQxbYK9LiFaGpFC0"
    "Kfy_CCiNqh0anzB_Dlh6tt2tGaBgcnpO9vPnU4RV6ozN_2vmuP-7Ulju_L59oEBYXlA-ngeGqFs4hFVqu0gG"
    "ARiac4H_XruPhcZhitJmDQFd2qN_X-QGG9ED3uuS_UJh98LzLS_mZ39urubMmIVywxcaQL4zxw1ONDbISISr"
    "5FsV_-ZE8vMxd2wgQP0Dxk7lpjNYqbFI13WSk8g"},
    {"PS384",
    "eyJhbGciOiJQUzM4NCIsImtpZCI6InJzYS0xIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ1MSIsInJvbGUiOiJ2"
    "aWV3ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.Vp1hEPHOuyOgxMEqsCs9OTj-DXB1YeGHST7UMbj7len-ji-ra7y"
    "py1ME-_zXesQfhZ2ZCJ_Hv3AMemp5cgztsqGs2JilKfEcnSpCVHTa9sU0M-truwBZHW2tkqmPQYEieAQYWyB"
    "zmhU3zSURpQtiSx00SvzyCXrkp-q5I-BCPvFwIhrE8l-Nt7Pe-g8kLX3iTQS4YH-11Ji2KLGkWY6mdhAPlXN"
    "qKcAyCgy4oA_fPzQ6T-XlpdFgovJWjptU52v_u9TLqio5KHboX0yvK0YuZOK-GmYrQBUglkSJkzKyVgQqlbJ"
    "XmkWlC5vcpWG8JEMu0C_7ig1mDYUHq0goRSDDsg"},
    {"ES384",
    "eyJhbGciOiJFUzM4NCIsImtpZCI6ImVjLTM4NCIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1MSIsInJvbGUiOiJ"
    "2aWV3ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.dvQ6kBoaj3-AAkyhmeMAwJDESXQpn-bY8Ydt14uFQ3iBvqgzeE"
    "htJuJFikEilMLTll0hrMyxHxhlcCzKfKMhTmp7zVPDYxecqNFw3OxpoXZAvtcqWVUsjPt45TGfNMZQ"},
    {"RS512",
    "eyJhbGciOiJSUzUxMiIsImtpZCI6InJzYS0xIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ1MSIsInJvbGUiOiJ2"
    "aWV3ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.UtM93YUlG3Ck6N2R1Oq998d0vun9mVTx8U6tlHEOJdrDIuQakCP"
    "07wDVKcWsvVtkxtSbhnSWGVCeLCP9GO5k0EG4Bif96-8RD1-WmU7pXDTDJs89fT4zGdHUYXGjL2uT9Zqz7To"
    "YTh9e3JEWYvJ4OTor0bXWuKAQon_l2eM3fOUAph0iD4KxLtIIkahjRtYa-XQwt90llbwvvXOOFERAzheLn4A"
    "dxtMmC4BcKah-mSj6X_Zl_5Pb_7w_RdaG5yHA3ygMjaF19GNionJzDLstcic8nAbS5NvQPA7V-rlqrLf0hnF"
    "fZ7suwCs8DrLpHpdl_lK8yZkvAbixgZqJ7zwOrw"},
    {"PS512",
    "eyJhbGciOiJQUzUxMiIsImtpZCI6InJzYS0xIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ1MSIsInJvbGUiOiJ2"
    "aWV3ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.jSVX5aqb4L3qrdrwZgC6ltEMYrIyX5hjBkVLZhlcnMFoEDMvevw"
    "zXxl5YNhNua4vd47WfqhLNAKkjbOpj3gtaTBFKymtYBuyqg8CEfpUWVrmLsno2k4SOnjvvdqyeY4tv4y98I2"
    "6hshhIqU65-j2f7sZIq_DxlaLFvcc_e-cfjXEIc27lI1Gjed7hyUrgbBJYopo6FDSG4Ed0FLkUQIHs-Okm9G"
    "s0odICELN_MMEV4ysVBqdyZDtPi5IfeqZKGFljoNRGj8-Ni9vqAyb_qMhgm2PFPktXvW8K1IvcnQ6IBVFfb2"
    "6NzTWLdNjMB3cJILWV4n2oOp1Qog1rfqTsl2M7Q"},
    {"ES512",
    "eyJhbGciOiJFUzUxMiIsImtpZCI6ImVjLTUyMSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1MSIsInJvbGUiOiJ"
    "2aWV3ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.ASJ_flIWyGlbS0pDiR2BAGe_BKFd5rW1ZYeYWPOBDAuY2LXfIA"
    "rCINr5RqqpvpdiiU5EAWjGd1w-GNEDwUn5t_irASFIabdOtALKPNCl2e1m_ZWHYLxlWCYcue7iX2zzTn28mV"
    "3UDYImnKe-zju8HRD2RHHvrlhJ0IQ4ZQtUzooF9ZV9"},
    {"EdDSA",
    "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkLTEiLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiJ1MSIsInJvbGUiOiJ2a"
    "WV3ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.bzPFYcf4YtOvHpj5TMZ_lwY7a64_8JYdK1QqnQVOFFJZ4dPIM0rL"
    "8FflUabr0PYZjmSvX2qACh6xySUCFK6LDQ"},
    {"RS256_NOKID",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1MSIsInJvbGUiOiJ2aWV3ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.dk"
    "YkwQJbPagz4n4wT99gPCB2paG1Me2cwsQN-2u9Q4BBFoQmCw9hl4fsUHKpM39bNfrjukH0pe0EKhniwQ7oq-"
    "iKEvoFKidHWWF0qdKlpIZhqoFmAWwoh8GH50Iulkz-Rl_x8OWd0UX5n4ekTJWw-o31zAfqmhr75SRCTKCivc"
    "ShipSHmogFLfYTbnsdVAv6a9Sa11cNPXNHtY3q8SEXoDxE8wTCngyhl6ahRqLohlrNAQUSfsbZXvxF6t0Nf_"
    "X0K5ahiCMnoBAgvovg6DhSA7fnX2JHU3_yZhnekMjZqAjejazU_Slr8BHkfoLVxutD8_eSyhdSFjupoZJNeZ"
    "wkTQ"},
    {"RS256_OTHERKID",
    "eyJhbGciOiJSUzI1NiIsImtpZCI6Im5vYm9keSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1MSIsInJvbGUiOiJ"
    "2aWV3ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.jLQXxwz-MsJM-thzayQeV8fIjkTm5OjJFP0O3lZyIqkyZ5nxfI"
    "1keSULJVP8B5pXc7vHy2GXsw7vvW2zgQ7ekEtbjIsFq2T-xzKaRuukRcLRNxmnQDhVTT8YEwkQrxsUIXG5TG"
    "sb7zNKaEVfKF9FZHGYvMcEHdt_yQ4DjSFiMoX54_4lLS84pcYeWMjeZ1BgetBFpuEWHYlrHYckt5k0iRLPyU"
    "bj_JqrJdTsI62W_XebEUrxb5qR0RKsTEyyF1JlVysVVDkMziUT7BMZUzSGumMlW4DQjy1xpvnTPFsDLKPlke"
    "7flyfc7TDAx0VLZotLeESatajIt6NR_m9pGhHD-A"},
    {"ES256_RSAKID",
    "eyJhbGciOiJFUzI1NiIsImtpZCI6InJzYS0xIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ1MSIsInJvbGUiOiJ2"
    "aWV3ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.B1XzJweZH_bhiaoD9xerA9KbvfcFRLn2XvL8r7r_tp_-EVhmzMy"
    "dZKWRHPkD5JPFyhGDty7SJ2reGn6o18BOzQ"},
    {"PS256_SALT",
    "eyJhbGciOiJQUzI1NiIsImtpZCI6InJzYS0xIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ1MSIsInJvbGUiOiJ2"
    "aWV3ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.mdoUC-urAu88e5_pDy3hU1QnWl7WTYWZKnBNxC331CPMROMFYj8"
    "zgkYnG7U5opmF9KfHKbCltkM2P-SGN643v-lc0DM9cDvg_LTAHIz063ICmQkk353lVzTuHbwUJzE7lE7sOhy"
    "840JyMYRwvieqD2JkYaVcqZBEcNqf1ITOPoQH67yMnqyPIy0xDh4GNF3PUE73ASNB-E8mna14g9X8SzFXt0A"
    "2w1pHjLmpDAT49hqgfAY3NLUYpnalSH_lX-d56JmEuR0gcBswFjfNiJ6Gc0A8ovV-KJJx6b59DZne4V07Oxv"
    "-uq-ihbj3SP-TIUBKityQ8wSAXbO04zbAwpcvbg"},
    {"HS256_PEM",
    "eyJhbGciOiJIUzI1NiIsImtpZCI6InJzYS0xIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ1MSIsInJvbGUiOiJ2"
    "aWV3ZXIiLCJleHAiOjQxMDI0NDQ4MDB9.mW9gGeo3RK49KCUgJrYgrr-LqWU6xKq57bwMXEhEbcI"},
};
/* clang-format on */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates and keys for tests, valid from 2020 to 2120: they protect nothing. */
#ifndef WH_TESTS_TLS_PKI_H
#define WH_TESTS_TLS_PKI_H

/* signed the ones below it */
static const char pki_authority[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBXDCCAQKgAwIBAgICEAAwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJYXV0aG9y\n"
    "aXR5MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAUMRIwEAYDVQQD\n"
    "DAlhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARJi6qZRx7Htal7\n"
    "GIUC17UMFURh3VwSS461Xf1Lgss9qr0jvV4WWMC5cAgbRjCqnzz9MU+PlkxljieD\n"
    "pEwjpORco0IwQDAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwIBBjAdBgNV\n"
    "HQ4EFgQU+rm5SEfe6xyfQaJv/HGd3hOnYiYwCgYIKoZIzj0EAwIDSAAwRQIgda7X\n"
    "MCZ9ipELibhHApA0wvctaKnzNUddfKDlFlSbjfICIQC/LXPLUnPJEydb9FtM8MZF\n"
    "sA2UA+rNNZgX+RW1erqzBA==\n"
    "-----END CERTIFICATE-----\n";

/* signed nothing */
static const char pki_stranger[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBWjCCAQCgAwIBAgICEAEwCgYIKoZIzj0EAwIwEzERMA8GA1UEAwwIc3RyYW5n\n"
    "ZXIwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBMxETAPBgNVBAMM\n"
    "CHN0cmFuZ2VyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEDKUTkF9R3UO/S3TD\n"
    "lpp9rnI0U8yeAvvzaZ4tEkThxfHsvZEzGW9/NdPyTwCXIq76yj640LI3NWCKscAX\n"
    "AIdIaqNCMEAwDwYDVR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAQYwHQYDVR0O\n"
    "BBYEFPJjisq9DK5YL9SLCxj5HhBix0T8MAoGCCqGSM49BAMCA0gAMEUCIBGtyFNw\n"
    "OxSkWIIa7vGLKU+OUM+zsIn/cHusXiO1KN8hAiEA9HosWP9jixAXKIQxWxXYLi1y\n"
    "qmINR2NYooKvL35E9Oc=\n"
    "-----END CERTIFICATE-----\n";

/* localhost, *.example.test, 127.0.0.1, ::1 */
static const char pki_good[] = "-----BEGIN CERTIFICATE-----\n"
                               "MIIBpDCCAUqgAwIBAgICEAIwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJYXV0aG9y\n"
                               "aXR5MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjARMQ8wDQYDVQQD\n"
                               "DAZ1bnVzZWQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASSZSNMHK0ZVq2VEGrx\n"
                               "Y3lT9cRZ2DtUwCSr66h2miGMwMvTdfIYW4wpeIA30+k+7RD4t3Mc945g1TMq9W/G\n"
                               "imTSo4GMMIGJMAkGA1UdEwQCMAAwPAYDVR0RBDUwM4IJbG9jYWxob3N0gg4qLmV4\n"
                               "YW1wbGUudGVzdIcEfwAAAYcQAAAAAAAAAAAAAAAAAAAAATAdBgNVHQ4EFgQUUdUE\n"
                               "x+v2ZhRtYftOY7E6bIYfR/4wHwYDVR0jBBgwFoAU+rm5SEfe6xyfQaJv/HGd3hOn\n"
                               "YiYwCgYIKoZIzj0EAwIDSAAwRQIhALZLr4DaUWZcxg8yzr32v6am+9ZxB1oPhBsF\n"
                               "eOlC3u8KAiAm+FgwJl8L7lDeed0EuH0mUJub+FT8NIJPY2Pcr3tunQ==\n"
                               "-----END CERTIFICATE-----\n";
static const char pki_good_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgDE3n98klpiOqeoBa\n"
    "lHXFZObbTih0r6Yy3OBFGtjYZc2hRANCAASSZSNMHK0ZVq2VEGrxY3lT9cRZ2DtU\n"
    "wCSr66h2miGMwMvTdfIYW4wpeIA30+k+7RD4t3Mc945g1TMq9W/GimTS\n"
    "-----END PRIVATE KEY-----\n";

/* an address as common name and as DNS names, never as IP address */
static const char pki_bent[] = "-----BEGIN CERTIFICATE-----\n"
                               "MIIBhjCCASygAwIBAgICEAMwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJYXV0aG9y\n"
                               "aXR5MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAUMRIwEAYDVQQD\n"
                               "DAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAR1J51uIjEgJHwL\n"
                               "iREi6E95L8sX8ITxRPWICcAeCgRfRw4A780tUMA/l5q74Ifv9upurL5jyMu8e+jf\n"
                               "+Nk8ni0Vo2wwajAJBgNVHRMEAjAAMB0GA1UdEQQWMBSCCTEyNy4wLjAuMYIHKi4w\n"
                               "LjAuMTAdBgNVHQ4EFgQUePFJYau4DKANdnki5VuJCMpuCrswHwYDVR0jBBgwFoAU\n"
                               "+rm5SEfe6xyfQaJv/HGd3hOnYiYwCgYIKoZIzj0EAwIDSAAwRQIgQqWShgnhlkcO\n"
                               "Yl1VpgMsi62aDeTEoWwY6jpgR1O+x+oCIQDb7SmIA+Xz59215bU0jggE2uf1LHyg\n"
                               "gtMy/9AeEl/ulA==\n"
                               "-----END CERTIFICATE-----\n";
static const char pki_bent_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg2VEvW3ImqCgnsaoE\n"
    "tPR/mcr03No5S1M7HGhYrPL0fD2hRANCAAR1J51uIjEgJHwLiREi6E95L8sX8ITx\n"
    "RPWICcAeCgRfRw4A780tUMA/l5q74Ifv9upurL5jyMu8e+jf+Nk8ni0V\n"
    "-----END PRIVATE KEY-----\n";

/* old.example.test as common name, no subjectAltName */
static const char pki_common[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBbjCCARSgAwIBAgICEAQwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJYXV0aG9y\n"
    "aXR5MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAbMRkwFwYDVQQD\n"
    "DBBvbGQuZXhhbXBsZS50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQaa7\n"
    "T+j8ObPzXspYe0v7H2SMzbDi7otNy2qYdgYWdI3zXudP5woTqr7Rf27TVIR0usbQ\n"
    "qH3Z2pJghBUBK370BqNNMEswCQYDVR0TBAIwADAdBgNVHQ4EFgQUARNSh02Mocpb\n"
    "cdqR/nz8FDmBJpEwHwYDVR0jBBgwFoAU+rm5SEfe6xyfQaJv/HGd3hOnYiYwCgYI\n"
    "KoZIzj0EAwIDSAAwRQIhALiYF4uEwKrjkQ3q1dQlLEsBGwoOBH2CqbrxCGbD0KJV\n"
    "AiA2xnH/uV4vhFdwMBrLCbgctC78jY+c9021lUhTKQDrHg==\n"
    "-----END CERTIFICATE-----\n";
static const char pki_common_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg0bmgSd+K95I23MUv\n"
    "LaVPF1fFRfqvtJLdqb3+jjuXsVKhRANCAARBprtP6Pw5s/Neylh7S/sfZIzNsOLu\n"
    "i03Laph2BhZ0jfNe50/nChOqvtF/btNUhHS6xtCofdnakmCEFQErfvQG\n"
    "-----END PRIVATE KEY-----\n";

/* localhost, until 2021 */
static const char pki_expired[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBczCCARmgAwIBAgICEAUwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJYXV0aG9y\n"
    "aXR5MB4XDTIwMDEwMTAwMDAwMFoXDTIxMDEwMTAwMDAwMFowDDEKMAgGA1UEAwwB\n"
    "eDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPLIDykkP8mpBiVOwqxHIjjgttz2\n"
    "50qUNl2QvY2sIy2hZC8bKxVhxPcm2FLM+oOOOdzlQxURD54aYuh0YCCiV/ajYzBh\n"
    "MAkGA1UdEwQCMAAwFAYDVR0RBA0wC4IJbG9jYWxob3N0MB0GA1UdDgQWBBTeNXSN\n"
    "pAUcTHN14d3YCy3Nt+QWZTAfBgNVHSMEGDAWgBT6ublIR97rHJ9Bom/8cZ3eE6di\n"
    "JjAKBggqhkjOPQQDAgNIADBFAiA5+FkDIMoRLm5Qhv08q/5sXBmlh2tlqEoZC71a\n"
    "ATm4PQIhAIwh3MxDpePfHc09klL+D7bkF1sEh0QIhNnBLQttmp1K\n"
    "-----END CERTIFICATE-----\n";
static const char pki_expired_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgT3kzFIEVFHkIrDRp\n"
    "lXnwxdodc473FvoGaYLxQ35PIHihRANCAATyyA8pJD/JqQYlTsKsRyI44Lbc9udK\n"
    "lDZdkL2NrCMtoWQvGysVYcT3JthSzPqDjjnc5UMVEQ+eGmLodGAgolf2\n"
    "-----END PRIVATE KEY-----\n";

#endif

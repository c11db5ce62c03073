/* SPDX-License-Identifier: Apache-2.0 */
/* TEST_SLOW is 1 in a sanitizer build, which does an exhaustive test five to forty times slower:
 * the test then takes a part of its cases, spread over all of them. */
#ifndef WH_TESTS_SLOW_H
#define WH_TESTS_SLOW_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SLOW 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SLOW 1
#endif
#ifndef TEST_SLOW
#define TEST_SLOW 0
#endif

#endif

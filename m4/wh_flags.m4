# SPDX-License-Identifier: Apache-2.0
# WH_TRY_CFLAGS(VAR, FLAGS): append each flag that the C compiler accepts to VAR.
AC_DEFUN([WH_TRY_FLAGS_], [
  for wh_flag in m4_normalize([$3]); do
    wh_saved="[$]$2"
    $2="[$]$2 $wh_flag -Werror"
    AC_MSG_CHECKING([whether $4 accepts $wh_flag])
    AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])], [AC_MSG_RESULT([yes]); $1="[$]$1 $wh_flag"], [AC_MSG_RESULT([no])])
    $2="$wh_saved"
  done])
AC_DEFUN([WH_TRY_CFLAGS], [WH_TRY_FLAGS_([$1], [CFLAGS], [$2], [the C compiler])])
AC_DEFUN([WH_TRY_CXXFLAGS], [WH_TRY_FLAGS_([$1], [CXXFLAGS], [$2], [the C++ compiler])])
AC_DEFUN([WH_TRY_LDFLAGS], [WH_TRY_FLAGS_([$1], [LDFLAGS], [$2], [the linker])])

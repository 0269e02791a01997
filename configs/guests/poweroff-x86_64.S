# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A boot sector for pc and q35 that says so and powers off.

	.include "x86_64.inc"

	entry
	print text
	power_off
	halt

	routines
text:	.asciz "powering off\n"
	sector

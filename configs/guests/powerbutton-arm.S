@ SPDX-License-Identifier: LGPL-2.1-or-later
@
@ Ticks, and powers off when its power button is pressed.

	.set POWERBUTTON, 1
	.include "tick-arm.S"

/*
 * Code lists that others maintain: ISO 3166-1, ISO 4217, UN/ECE
 * Recommendation 21 with the additions of GS1.
 */

#ifndef SV_GS1_LISTS_H
#define SV_GS1_LISTS_H

#include <stddef.h>
#include <stdint.h>


int sv_gs1_is_country(unsigned code);
int sv_gs1_is_currency(unsigned code);
int sv_gs1_is_alpha2(const uint8_t code[2]);
int sv_gs1_is_package(const uint8_t *code, size_t len);

#endif /* SV_GS1_LISTS_H */

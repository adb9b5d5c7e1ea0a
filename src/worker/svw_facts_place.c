/*
 * Where sites are, and where a scan was.
 */

#include "svw_facts_in.h"

#include <math.h>
#include <stdlib.h>


int
svw_facts_location(svw_facts_t *facts, const svw_judge_location_t *location, svw_key_t **key)
{
    int          k;
    svw_site_t  *site, now;
    sv_span_t    name[2] = { location->actor, location->gln };

    *key = NULL;

    for (k = 0; k < 2 && *key == NULL; k++) {
        if (name[k].len > 0) {
            *key = svw_key_get(facts->evidence, SVW_KEY_SITE, 0, name[k]);

            if (*key == NULL) {
                return -1;
            }
        }
    }

    if (*key == NULL) {
        return 0;
    }

    site = (*key)->site;

    if (site == NULL) {
        site = calloc(1, sizeof(svw_site_t));

        if (site == NULL) {
            return -1;
        }

        (*key)->site = site;
    }

    now = *site;
    now.located = 1;
    memcpy(now.country, location->country, sizeof(now.country));
    now.kind = location->kind;
    now.ref = location->ref;
    now.lat = location->lat;
    now.lon = location->lon;

    if (!(fabs(location->lat) <= 90 && fabs(location->lon) <= 180) || (location->lat == 0 && location->lon == 0)) {
        now.lat = NAN;
        now.lon = NAN;
    }

    k = !site->located || memcmp(now.country, site->country, 3) != 0 || memcmp(&now.lat, &site->lat, sizeof(float)) != 0
        || memcmp(&now.lon, &site->lon, sizeof(float)) != 0 || now.kind != site->kind;
    *site = now;

    return k;
}


/*
 * A record that is far from where its site scans is of another place; one whose
 * packs are all in other markets than it says (doubt) tells nothing.
 */
svw_place_t
svw_facts_place(const svw_facts_t *facts, const svw_node_t *node)
{
    svw_place_t        place;
    const svw_site_t  *site;

    place.country = node->country;
    place.lat = node->lat;
    place.lon = node->lon;
    place.accuracy_km = node->accuracy_km;
    place.recorded = 0;

    site = node->key[SVW_KEY_SITE] == NULL ? NULL : node->key[SVW_KEY_SITE]->site;

    if (site == NULL || !site->located || site->doubt) {
        return place;
    }

    if (!isnan(place.lat) && !isnan(site->lat)
        && svw_distance_km(place.lat, place.lon, site->lat, site->lon) > svw_param(facts->params, SVW_P_PLACE_DISTRUST))
    {
        return place;
    }

    if (place.country[0] == '\0') {
        place.country = site->country;
        place.recorded = 1;
    }

    if (isnan(place.lat)) {
        place.lat = site->lat;
        place.lon = site->lon;
        place.recorded = 1;
    }

    return place;
}


int
svw_facts_same_area(const svw_facts_t *facts, const char *a, const char *b)
{
    return strcmp(a, b) == 0
           || (svw_countries_has(&facts->params->free_movement, a) && svw_countries_has(&facts->params->free_movement, b));
}


double
svw_distance_km(double lat1, double lon1, double lat2, double lon2)
{
    double  a, dlat, dlon, radian;

    radian = M_PI / 180;
    dlat = (lat2 - lat1) * radian / 2;
    dlon = (lon2 - lon1) * radian / 2;
    a = sin(dlat) * sin(dlat) + cos(lat1 * radian) * cos(lat2 * radian) * sin(dlon) * sin(dlon);

    return 2 * 6371 * asin(sqrt(a > 1 ? 1 : a));
}

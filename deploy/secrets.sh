#!/usr/bin/env bash
# Gives each service of compose.yaml what is secret to it, and nothing else: `secrets.sh CERTS PASSWORDS EDGE OUT`.
#
# CERTS has what `hashmesh certs` made; PASSWORDS keeps passwords, which are made once; EDGE may have a certificate of yours; OUT/NAME
# is the volume that the service NAME sees as /run/secrets. It runs at each `docker compose up`, without a network, as root that
# may give files away and read those of others. Files are renamed into place: who reads them meanwhile has the old or the new one.
set -euo pipefail
umask 077

certs=$1 passwords=$2 edge=$3 out=$4

# password NAME: 256 random bits, made when they are asked for the first time.
password() {
    if [ ! -s "$passwords/$1" ]; then
        head -c 32 /dev/urandom | base64 -w 0 | tr '+/' '-_' | tr -d '=' > "$passwords/$1.new"
        mv "$passwords/$1.new" "$passwords/$1"
    fi
    cat "$passwords/$1"
}

# put SERVICE UID FILE: what is on standard input, readable by that user alone.
put() {
    local file=$out/$1/$3
    rm -f "$file.new"
    cat > "$file.new"
    chmod 0400 "$file.new"
    chown "$2:$2" "$file.new"
    mv "$file.new" "$file"
}

# certificate SERVICE UID NAME AS: the certificate NAME, its key and the authority.
certificate() {
    # The key first: a certificate without its key is of no use, and who reads both in between keeps the old ones.
    put "$1" "$2" "$4.key" < "$certs/$3.key"
    put "$1" "$2" "$4.pem" < "$certs/$3.pem"
    put "$1" "$2" ca.pem < "$certs/ca.pem"
}

for service in "$out"/*/; do
    chmod 0755 "$service"
done

# The roles' user in our image.
hashmesh=65532
for role in gateway queue hash cache worker; do
    certificate "$role" "$hashmesh" "$role" tls
done

# Envoy: what it shows to the Cache, and what it shows to clients: yours, if there is one.
envoy=101
certificate envoy "$envoy" client client
if [ -s "$edge/edge.pem" ] && [ -s "$edge/edge.key" ]; then
    put envoy "$envoy" edge.key < "$edge/edge.key"
    put envoy "$envoy" edge.pem < "$edge/edge.pem"
else
    certificate envoy "$envoy" client edge
fi

# Postgres has a login for each of those that use it.
postgres=999 pgbouncer=70
password postgres | put postgres "$postgres" postgres
for login in queue cache pool; do
    password "$login" | put postgres "$postgres" "$login"
done
echo "postgres://hashmesh:$(password queue)@postgres:5432/hashmesh?sslmode=disable" | put queue "$hashmesh" database-url
echo "postgres://hashmesh_pool:$(password pool)@pgbouncer:6432/hashmesh?sslmode=disable" |
    put queue "$hashmesh" database-pool-url
echo "postgres://hashmesh_cache:$(password cache)@postgres:5432/hashmesh?sslmode=disable" | put cache "$hashmesh" database-url
echo "\"hashmesh_pool\" \"$(password pool)\"" | put pgbouncer "$pgbouncer" userlist.txt

# Redis: who has no password may ask whether it is there.
redis=999
{
    echo "user default on nopass resetkeys resetchannels -@all +ping"
    echo "user cache on >$(password redis) ~* resetchannels -@all +@read +@write +@scripting +@connection +@transaction -@dangerous +time +info"
} | put redis "$redis" users.acl
echo "redis://cache:$(password redis)@redis:6379" | put cache "$hashmesh" redis-url

grafana=472
password grafana | put grafana "$grafana" admin-password

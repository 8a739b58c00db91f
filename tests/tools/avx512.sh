#!/usr/bin/env bash
# The tests of the hash kernels on a processor with AVX-512 that this machine need not have: `avx512.sh TESTS DIRECTORY`. TESTS is a
# release build of hashmesh-hash's unit tests; DIRECTORY is for what is downloaded and for the log. Debian as root only.
#
# The processor is Bochs', an emulator: it says whether the kernels compute rightly, and nothing about how fast. It runs a Linux
# that has nothing but these tests. That is bullseye's kernel, for the newer ones find fault with how Bochs 2.7 lays out its
# registers for XSAVE and then do without AVX.
set -euo pipefail

tests=$1 directory=$2
packages=(bochs bochsbios vgabios isolinux syslinux-common xorriso cpio curl)
kernel=linux-image-5.10.0-30-cloud-amd64_5.10.218-1_amd64.deb
kernel_url=http://deb.debian.org/debian/pool/main/l/linux-signed-amd64/$kernel
kernel_sha256=24fce24f8c058b426b3eb4ec4778d0ac10d84302743cacba53f3ea168cf0b0a5
limit=${AVX512_LIMIT:-3600}

if ! dpkg-query --show "${packages[@]}" >/dev/null 2>&1; then
    [ "$(id -u)" -eq 0 ] || { echo "install ${packages[*]}, or run this as root" >&2; exit 1; }
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
mkdir -p "$directory"
cd "$directory"
echo "$kernel_sha256  $kernel" | sha256sum --check --status 2>/dev/null || curl --fail --silent --show-error --output "$kernel" "$kernel_url"
echo "$kernel_sha256  $kernel" | sha256sum --check --quiet
compgen -G 'busybox-static_*.deb' >/dev/null || apt-get download -qq busybox-static 2>/dev/null
rm -rf packages system image serial.log bochs.log
for package in "$kernel" busybox-static_*.deb; do dpkg --extract "$package" packages; done

# The whole system: a shell, the tests, and what they are linked to.
mkdir -p system/{bin,proc,dev,tmp} image/isolinux
cp packages/bin/busybox system/bin/
cp "$tests" system/bin/tests
strip system/bin/tests
ldd "$tests" | grep -o '/lib[^ ]*' | while IFS= read -r library; do
    mkdir -p "system$(dirname "$library")"
    cp "$library" "system$library"
done
cat >system/init <<'EOF'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
exec >/dev/ttyS0 2>&1
echo "flags: $(/bin/busybox grep -m 1 -o -w -E 'avx512(f|bw|vl)|avx2' /proc/cpuinfo | /bin/busybox sort -u | /bin/busybox tr '\n' ' ')"
cd /tmp
/bin/tests kernels:: --test-threads 1
echo "tests ended with $?"
# What is said last would be lost if the machine went off now. Whoever reads it ends the emulator.
exec /bin/busybox sleep 100000
EOF
chmod +x system/init
(cd system && find . | cpio --create --format newc --quiet | gzip -1) >image/initrd
cp packages/boot/vmlinuz-* image/vmlinuz
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 image/isolinux/
cat >image/isolinux/isolinux.cfg <<'EOF'
default linux
prompt 0
timeout 1
label linux
kernel /vmlinuz
append initrd=/initrd console=ttyS0 quiet mitigations=off nokaslr clocksource=jiffies noxsaves noxsavec nopku
EOF
xorriso -as mkisofs -quiet -o boot.iso -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table image 2>/dev/null

cat >bochsrc <<'EOF'
cpu: model=corei7_skylake_x, count=1, ips=100000000, reset_on_triple_fault=0
memory: guest=1024, host=1024
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=serial.log
display_library: rfb, options="timeout=0"
log: bochs.log
panic: action=fatal
clock: sync=none
EOF
# Debian's has a debugger, which waits to be told to go on.
echo continue >commands
bochs -q -f bochsrc -rc commands >bochs.out 2>&1 </dev/null &
bochs=$!
trap 'kill "$bochs" 2>/dev/null || true' EXIT
while ! grep -qs '^tests ended with' serial.log; do
    kill -0 "$bochs" 2>/dev/null || { echo "the emulator ended: see $PWD/bochs.log and serial.log" >&2; exit 1; }
    [ "$SECONDS" -lt "$limit" ] || { echo "not done within $limit s: see $PWD/serial.log" >&2; exit 1; }
    sleep 1
done
sed -n '/^flags:/,$p' serial.log | tr -d '\r'
tr -d '\r' <serial.log | grep -q '^flags: .*avx512bw .*avx512f ' || { echo "FAIL: the emulated processor has no AVX-512" >&2; exit 1; }
tr -d '\r' <serial.log | grep -qx 'tests ended with 0'
